"""Page after page of one answer, while others write.

A cursor holds a digest of the query and the collection, the number of the last change that the first page saw, when it
was asked, how many candidates it looked at, and the chunks that were shown. Later pages leave out chunks that came
after that change, so nothing shifts and nothing comes twice. Of chunks that went since, those that were shown are not
replaced, and those that were not are missing from the later pages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sememe.errors import InputError
from sememe.index.exact import Allowed
from sememe.search.query import Query
from sememe.search.shape import Shape
from sememe.search.view import Moment
from sememe.store.reading import Snapshot
from sememe.types import Ids

MOST_BYTES = 1 << 24
"""Of an unpacked cursor: a million chunks that were shown."""


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page ends. `top` is the greatest number of a chunk at `seq`; `asked` in seconds since 1970; `k` the hits
    that the first page asked for and `pool` the candidates that it took, 0 before it is known; `shown` the numbers of
    the chunks in their order."""

    query: str
    seq: int
    top: int
    asked: float
    k: int
    pool: int = 0
    shown: tuple[int, ...] = ()

    @property
    def cursor(self) -> str:
        """As a string that can stand in an address."""
        return base64.urlsafe_b64encode(zlib.compress(json.dumps(astuple(self)).encode())).decode()


def digest(query: Query, collection: Path) -> str:
    """What tells one query of one collection from another; how many hits a page has does not matter."""
    shape = replace(query.shape or Shape(), after="", page=1, context=0, facets=())
    parts = [(part.weight, str(part), _bytes(part.what)) for part in query.parts]
    where = None if query.where is None else query.where.text
    # What is usual is the same whether it was said or not.
    usual = replace(query.route, rerank=None, depth=query.route.read, fusion=query.route.fusion or "evidence")
    route = {name: str(value) for name, value in asdict(usual).items()}
    told: list[Any] = [
        str(collection), query.text, parts or _bytes(query.vector), where, query.mode, query.alpha, query.recall,
        query.route.ranked_by, route, asdict(shape),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _bytes(vector: object) -> str:
    return vector.tobytes().hex() if isinstance(vector, np.ndarray) else ""


def first(query: Query, shape: Shape, *, collection: Path, snapshot: Snapshot, now: float) -> Page:
    """Where an answer begins."""
    return Page(digest(query, collection), snapshot.seq(), snapshot.seq("chunks"), now, query.k * shape.page)


def opened(query: Query, cursor: str, collection: Path) -> Page:
    """The page that a cursor is of. Raises InputError for one of another query or collection, or for none at all."""
    try:
        unpacked = zlib.decompressobj().decompress(base64.urlsafe_b64decode(cursor), MOST_BYTES)
        told, seq, top, asked, k, pool, shown = json.loads(unpacked)
        page = Page(str(told), int(seq), int(top), float(asked), int(k), int(pool), tuple(map(int, shown)))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error, zlib.error) as error:
        raise InputError(
            f"{cursor[:40]!r} is no cursor of a page; use the one that came with the page before"
        ) from error
    if page.query != digest(query, collection):
        raise InputError(
            "the cursor is of another query or collection; ask the same query again with it, or leave it out"
        )
    return page


def older(moment: Moment, allowed: Allowed | None, *, page: Page, snapshot: Snapshot) -> Allowed | None:
    """The rows that may be returned without those of chunks that came after the first page."""
    newer = _newer(snapshot, page)
    if not len(newer):
        return allowed
    exact = moment.exact
    slab = ~exact.dead if allowed is None else allowed.slab
    tail = np.ones(len(exact.tail_ids), bool) if allowed is None else allowed.tail
    return Allowed(slab=slab & ~np.isin(exact.rows.ids, newer), tail=tail & ~np.isin(exact.tail_ids, newer))


def _newer(snapshot: Snapshot, page: Page) -> Ids:
    if snapshot.seq() == page.seq:
        return np.empty(0, np.int64)
    net = snapshot.net_changes(page.seq)
    if net is None:
        # The changes were pruned; numbers ascend, and are never used again.
        return np.array([number for number in snapshot.live_chunks() if number > page.top], np.int64)
    return np.array(net[0], np.int64)
