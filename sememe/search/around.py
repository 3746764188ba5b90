"""What stands around hits, and how often values occur among them and among all that may be found."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sememe.filters import whole
from sememe.index.columns import Columns, Mask, NotIndexed
from sememe.index.exact import Allowed
from sememe.search.diversify import elements, typed
from sememe.search.shape import Context
from sememe.search.view import Moment
from sememe.store.reading import Snapshot
from sememe.store.records import StoredChunk
from sememe.types import CHUNK_PREFIX, Hit, Surroundings

Counts: TypeAlias = Mapping[str, Counter[tuple[str, Hashable]]]

SECTION_CHUNKS = 32
"""Chunks of a section on each side of a hit, at most: a text without headings is one section."""


@dataclass(frozen=True, slots=True)
class Facet:
    """A value of a field: how many chunks that may be found have it, and how many of the hits."""

    value: Hashable
    count: int
    hits: int


def with_context(hits: Iterable[Hit], snapshot: Snapshot, context: Context) -> list[Hit]:
    """The hits, each with the text around it: a slice of its document's text, from chunks that may overlap."""
    widened = []
    for hit in hits:
        document = snapshot.document(hit.document)
        assert document is not None
        reach = SECTION_CHUNKS if context == "section" else context
        first = max(hit.position - reach, 0)
        chunks = snapshot.chunks_of(document.id, first=first, last=hit.position + reach)
        if context == "section":
            chunks = _section(chunks, hit.position - first)
        start, end = min(chunk.start for chunk in chunks), max(chunk.end for chunk in chunks)
        widened.append(replace(hit, context=Surroundings(snapshot.text(document.id, start, end), (start, end))))
    return widened


def _section(chunks: list[StoredChunk], at: int) -> list[StoredChunk]:
    """Those around one that stand under the same headings, and the one that opens them."""
    path = chunks[at].headings
    low = high = at
    while low and chunks[low - 1].headings[: len(path)] == path:
        low -= 1
    while high + 1 < len(chunks) and chunks[high + 1].headings[: len(path)] == path:
        high += 1
    # The chunk that holds the heading itself has the headings above it alone.
    opens = path and low and chunks[low - 1].headings == path[:-1] and path[-1] in chunks[low - 1].text
    return chunks[low - bool(opens) : high + 1]


@dataclass(frozen=True, slots=True)
class Among:
    """The chunks that values are counted in: the `rows (rows,)` of filter columns, and others by number."""

    known: Columns | None
    rows: Mask
    others: Sequence[int]

    @classmethod
    def of(cls, moment: Moment, allowed: Allowed) -> Among:
        """Those that may be found at a moment."""
        exact, known = moment.exact, moment.files.columns
        covered = 0 if known is None else known.rows
        newer = exact.rows.ids[covered:][allowed.slab[covered:]]
        return cls(known, allowed.slab[:covered], [*newer.tolist(), *exact.tail_ids[allowed.tail].tolist()])


def facets_of(
    fields: Sequence[str], snapshot: Snapshot, *, among: Among, ids: Callable[[], Sequence[int]], hits: Sequence[Hit]
) -> dict[str, list[Facet]]:
    """For every field its values among all, the most frequent first. An element of a list is a value, and a chunk has
    the values of its document. `ids` are those of all, for fields that the columns do not tell of."""
    shown = _counts(fields, snapshot, [int(hit.id.removeprefix(CHUNK_PREFIX)) for hit in hits])
    return {
        field: [
            Facet(key[1], count, shown[field][key])
            for key, count in sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0][1])))
        ]
        for field, counts in _all_counts(fields, snapshot, among, ids).items()
    }


def _all_counts(
    fields: Sequence[str], snapshot: Snapshot, among: Among, ids: Callable[[], Sequence[int]]
) -> Counts:  # fmt: skip
    told: dict[str, Counter[tuple[str, Hashable]]] = {}
    for field in dict.fromkeys(fields):
        # NotIndexed: a collection of more fields than are kept.
        with contextlib.suppress(NotIndexed):
            tally = None if among.known is None else among.known.tally(field, among.rows)
            if tally is not None:
                told[field] = Counter()
                for value, count in tally:
                    told[field][typed(value)] += count
    newer = _counts([*told], snapshot, among.others) if told and among.others else {}
    rest = [field for field in fields if field not in told]
    read = _counts(rest, snapshot, ids()) if rest else {}
    return {field: told[field] + newer.get(field, Counter()) if field in told else read[field] for field in fields}


def _counts(fields: Sequence[str], snapshot: Snapshot, chunks: Sequence[int]) -> Counts:
    counts: dict[str, Counter[tuple[str, Hashable]]] = {field: Counter() for field in dict.fromkeys(fields)}
    of_document = Counter(snapshot.documents_of(chunks).values())
    for document, metadata in snapshot.metadata_of(of_document).items():
        for field in counts:
            for key in {typed(whole(v) if isinstance(v, list | dict) else v) for v in elements(metadata, field)}:
                counts[field][key] += of_document[document]
    return counts
