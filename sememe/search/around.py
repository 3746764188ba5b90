"""What stands around hits, and how often values occur among them and among all that may be found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sememe.filters import whole
from sememe.search.diversify import elements
from sememe.search.shape import Context
from sememe.store.reading import Snapshot
from sememe.store.records import StoredChunk
from sememe.types import CHUNK_PREFIX, Hit, Surroundings

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
    chunks: dict[str, list[StoredChunk]] = {}
    widened = []
    for hit in hits:
        document = snapshot.document(hit.document)
        assert document is not None
        if hit.document not in chunks:
            chunks[hit.document] = snapshot.chunks_of(document.id)
        start, end = _span(chunks[hit.document], hit.position, context)
        widened.append(replace(hit, context=Surroundings(snapshot.text(document.id, start, end), (start, end))))
    return widened


def _span(chunks: Sequence[StoredChunk], position: int, context: Context) -> tuple[int, int]:
    if context == "section":
        low, high = _section(chunks, position)
    else:
        low, high = max(position - context, 0), min(position + context, len(chunks) - 1)
    return min(chunk.start for chunk in chunks[low : high + 1]), max(chunk.end for chunk in chunks[low : high + 1])


def _section(chunks: Sequence[StoredChunk], position: int) -> tuple[int, int]:
    """The first and the last chunk around one that stand under the same headings, and the one that opens them."""
    path = chunks[position].headings
    low = high = position
    while low > max(position - SECTION_CHUNKS, 0) and chunks[low - 1].headings[: len(path)] == path:
        low -= 1
    while high < min(position + SECTION_CHUNKS, len(chunks) - 1) and chunks[high + 1].headings[: len(path)] == path:
        high += 1
    # The chunk that holds the heading itself has the headings above it alone.
    opens = path and low and chunks[low - 1].headings == path[:-1] and path[-1] in chunks[low - 1].text
    return low - bool(opens), high


def facets_of(
    fields: Sequence[str], snapshot: Snapshot, *, among: Sequence[int], hits: Sequence[Hit]
) -> dict[str, list[Facet]]:
    """For every field its values among the chunks of those numbers, the most frequent first. An element of a list is a
    value, and a chunk has the values of its document."""
    shown = _counts(fields, snapshot, [int(hit.id.removeprefix(CHUNK_PREFIX)) for hit in hits])
    return {
        field: [
            Facet(value, count, shown[field][value])
            for value, count in sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        ]
        for field, counts in _counts(fields, snapshot, among).items()
    }


def _counts(fields: Sequence[str], snapshot: Snapshot, chunks: Sequence[int]) -> Mapping[str, Counter[Hashable]]:
    counts: dict[str, Counter[Hashable]] = {field: Counter() for field in fields}
    of_document = Counter(snapshot.documents_of(chunks).values())
    for document, metadata in snapshot.metadata_of(of_document).items():
        for field in fields:
            for value in {whole(v) if isinstance(v, list | dict) else v for v in elements(metadata, field)}:
                counts[field][value] += of_document[document]
    return counts
