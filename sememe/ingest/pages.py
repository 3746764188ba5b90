"""Addresses → items: pages that are fetched one after another, and not again while their servers say so.

A page's key is its address. What its server wants to be asked with the next time (`etag`, `last-modified`) is kept in
the metadata of its document; a page that holds many documents is told by its bytes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sememe.errors import InputError
from sememe.ingest.about import NOTHING_GIVEN, About, Given
from sememe.ingest.cutting import refusal
from sememe.ingest.items import Item
from sememe.sources import Refused
from sememe.sources.source import Read, ReadOptions
from sememe.sources.web import Fetcher, Page, Unchanged, WebOptions, checked_address
from sememe.store import SQLiteStore
from sememe.types import LedgerRow


@dataclass(frozen=True, slots=True)
class Pages:
    """Which pages a run is about: `addresses`, or with `sitemap` those that the sitemaps at the addresses list."""

    addresses: Sequence[str]
    sitemap: bool = False
    options: WebOptions = field(default_factory=WebOptions)

    def checked(self) -> Pages:
        """The same with every address in one way of writing it. Raises InputError for what is no address."""
        addresses = list(dict.fromkeys(map(checked_address, self.addresses)))
        if len(addresses) > self.options.max_pages:
            raise InputError(
                f"{len(addresses)} addresses are given and at most {self.options.max_pages} pages are fetched; "
                f"raise --max-pages, or give fewer"
            )
        return Pages(addresses, self.sitemap, self.options)

    def items(
        self, store: SQLiteStore | None, read: ReadOptions, given: Given = NOTHING_GIVEN
    ) -> Iterator[Item | LedgerRow]:
        """Every page in its turn, fetched when it comes, with what is `given` of it; what cannot be fetched with the
        reason."""
        fetcher = Fetcher(self.options)
        for address in self.addresses:
            found = fetcher.sitemap(address) if self.sitemap else iter((address,))
            for one in found:
                if isinstance(one, str):
                    item = _item(fetcher, one, store, read)
                    about = About(one, {}, None, given)
                    yield item if isinstance(item, LedgerRow) else replace(item, about=about)
                else:
                    yield refusal(one[0], "given", one[1])


def _item(fetcher: Fetcher, address: str, store: SQLiteStore | None, read: ReadOptions) -> Item | LedgerRow:
    stored, etag, modified = _stored(store, address)
    fetched = fetcher.fetch(address, etag=etag, modified=modified)
    if isinstance(fetched, Refused):
        return refusal(address, "given", fetched)
    if isinstance(fetched, Page):
        page = fetched
        return Item(
            address, "given", digest=lambda: page.digest, open=lambda: page.read(address, read), size=len(page.content)
        )

    def again() -> Read:
        """The page after all: it is cut in another way now."""
        page = fetcher.fetch(address)
        if isinstance(page, Unchanged):
            return Refused(Path(address), "its server sends no page, only that it has not changed", status="failed")
        return page if isinstance(page, Refused) else page.read(address, read)

    return Item(address, "given", digest=lambda: stored, open=again)


def _stored(store: SQLiteStore | None, address: str) -> tuple[bytes, str, str]:
    """The digest of the page that is stored and what to ask its server with; empty where there is none."""
    if store is None:
        return b"", "", ""
    with store.snapshot() as snapshot:
        known, document = snapshot.known_document(address), snapshot.document(address)
    if known is None or document is None:
        return b"", "", ""
    etag, modified = (str(document.metadata.get(name, "")) for name in ("etag", "last-modified"))
    return known.stamp.digest, etag, modified
