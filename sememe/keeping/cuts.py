"""Taking chunks out of a document that stays: blank its text there, and cut its neighbours back.

The text of a forgotten chunk is replaced by as many spaces, so that every other span keeps its place. A neighbour
that repeats some of it is cut back to what it holds alone, and its vector, which was made from both, is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sememe.errors import InputError
from sememe.ingest.cutting import input_digest
from sememe.keeping.traces import Collected
from sememe.space import Embedder
from sememe.store import SQLiteStore
from sememe.store.inventory import Inventory
from sememe.store.records import NewChunk, StoredChunk, StoredDocument
from sememe.store.writing import Transaction
from sememe.types import Embedded, LedgerRow, Metric, embedded_input
from sememe.vectors import normalise


@dataclass(slots=True)
class Cut:
    """What leaves a document: chunks, and neighbours that come back shorter: (the old one, its text that is left)."""

    document: StoredDocument
    gone: list[StoredChunk]
    shortened: list[tuple[StoredChunk, int, str]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The characters that are blanked."""
        return [(chunk.start, chunk.end) for chunk in self.gone]


def cut_out(snapshot: Inventory, document: StoredDocument, chunks: set[int]) -> Cut:
    """Plan to take some of a document's chunks out. Raises InputError where vectors hold more than their own chunk."""
    if "+" in document.recipe.chunker:
        raise InputError(
            f"{document.key} was embedded as {document.recipe.chunker}: its vectors hold more than their own chunks; "
            f"forget the whole document, or add it again without --long and then forget the part"
        )
    every = snapshot.chunks_of(document.id)
    gone = [chunk for chunk in every if chunk.id in chunks]
    cut = Cut(document, gone, inputs=[_input(chunk).hex() for chunk in gone])
    for chunk in every:
        if chunk.id not in chunks:
            start, text = _outside(chunk, cut.spans)
            if text != chunk.text:
                cut.shortened.append((chunk, start, text))
    return cut


def by_inputs(snapshot: Inventory, document: StoredDocument, inputs: set[str], *, dim: int) -> list[Cut]:
    """The same plan for those chunks that were made from the given inputs; none when there are none."""
    chunks = {chunk.id for chunk in snapshot.moved(document.id, dim) if chunk.input.hex() in inputs}
    return [cut_out(snapshot, document, chunks)] if chunks else []


def _outside(chunk: StoredChunk, spans: list[tuple[int, int]]) -> tuple[int, str]:
    """The longest part of a chunk that lies in none of the spans: where it starts, and its text."""
    covered = np.zeros(chunk.end - chunk.start + 2, dtype=bool)
    covered[[0, -1]] = True
    for start, end in spans:
        covered[1 + max(start - chunk.start, 0) : 1 + max(min(end, chunk.end) - chunk.start, 0)] = True
    edges = np.flatnonzero(np.diff(covered.astype(np.int8)))
    if not len(edges):
        return chunk.start, ""
    starts, ends = edges[::2], edges[1::2]
    best = int(np.argmax(ends - starts))
    text = chunk.text[starts[best] : ends[best]]
    return chunk.start + int(starts[best]) + len(text) - len(text.lstrip()), text.strip()


def _input(chunk: StoredChunk) -> bytes:
    return input_digest(embedded_input(chunk.headings, chunk.text))


def collect(snapshot: Inventory, cut: Cut, collected: Collected, *, dim: int) -> list[dict[str, Any]]:
    """Take in what to search for afterwards; returns what the receipt says of it."""
    changed = {chunk.id for chunk, _, _ in cut.shortened} | {chunk.id for chunk in cut.gone}
    positions: set[int] = set()
    for moved in snapshot.moved(cut.document.id, dim):
        if moved.id in changed:
            collected.vector(moved.vector)
            positions.add(moved.position)
    for held in snapshot.further():
        for beside in snapshot.beside(cut.document.id, held):
            if beside.position in positions:
                collected.vector(beside.vector)
    found = []
    for chunk in cut.gone:
        collected.text(chunk.text)
        found.append(
            {"kind": "chunk", "key_sha256": hashlib.sha256(cut.document.key.encode()).hexdigest(),
             "text_sha256": hashlib.sha256(chunk.text.encode()).hexdigest(), "characters": chunk.end - chunk.start,
             "neighbours_embedded_again": len(cut.shortened)}
        )  # fmt: skip
    return found


def embed_again(made: list[Cut], model: Callable[[], Embedder], metric: Metric) -> dict[bytes, Embedded]:
    """The vectors of shortened neighbours, each by itself, by the model of the collection."""
    texts = [embedded_input(chunk.headings, text) for cut in made for chunk, _, text in cut.shortened if text]
    if not texts:
        return {}
    embedder = model()
    fresh = embedder.embed(texts, role="document")
    vectors = fresh.vectors
    if metric == "cosine" and not embedder.space.normalised:
        vectors = normalise(vectors)
    return {
        input_digest(text): Embedded(
            vectors[i : i + 1], fresh.tokens[i : i + 1], fresh.kept[i : i + 1], fresh.replaced[i : i + 1]
        )
        for i, text in enumerate(texts)
    }


def look_up(main: SQLiteStore, made: list[Cut]) -> dict[bytes, Embedded]:
    """The same vectors where another collection already has them."""
    inputs = [
        input_digest(embedded_input(chunk.headings, text)) for cut in made for chunk, _, text in cut.shortened if text
    ]
    with main.snapshot() as snapshot:
        stored = snapshot.space()
        return snapshot.vectors_of_inputs(stored[0].id, inputs, stored[0].dim) if stored and inputs else {}


def carry_out(
    transaction: Transaction, cut: Cut, again: Mapping[bytes, Embedded], *, space: str, row: LedgerRow | None
) -> None:
    """Change the document. A neighbour whose vector is not among `again` goes too; its text stays."""
    for chunk in [*cut.gone, *(old for old, _, _ in cut.shortened)]:
        transaction.remove_chunk(chunk.id)
    for start, end in cut.spans:
        transaction.blank(cut.document.id, start, end)
    lost, tokens = len(cut.gone), sum(chunk.kept for chunk in cut.gone)
    for chunk, start, text in cut.shortened:
        key = input_digest(embedded_input(chunk.headings, text))
        tokens += chunk.kept
        if not text or key not in again:
            lost += 1
            continue
        transaction.add_vectors(space, [key], again[key])
        vector = transaction.cached(space, [key])[key]
        tokens -= vector.kept
        transaction.insert_chunk(
            cut.document.id, NewChunk(chunk.position, start, start + len(text), chunk.headings, vector.id)
        )
    if row is not None:
        changed = {chunk.position for chunk in cut.gone} | {chunk.position for chunk, _, _ in cut.shortened}
        truncated = tuple(entry for entry in row.truncated if entry[0] not in changed)
        remarks = tuple(dict.fromkeys((*row.remarks, "a part was forgotten")))
        changed_row = replace(
            row, chunks=row.chunks - lost, tokens=row.tokens - tokens, truncated=truncated, remarks=remarks,
            status="truncated" if truncated else "embedded", reason=row.reason if truncated else "",
        )  # fmt: skip
        transaction.record([changed_row], 0)
