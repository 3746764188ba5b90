"""How good the chunks of a collection are: what a person would find fault with, counted, with the worst examples.

`measure` is a pure function over an iterator of chunks in the order of their documents; it holds one chunk, counters,
a digest a chunk and a few examples. `of_collection` feeds it from the truth, and finds near duplicates through the
collection's own vectors. Nothing is written.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from sememe.chunking import order_of
from sememe.store import SQLiteStore
from sememe.store.reading import Snapshot
from sememe.types import CHUNK_PREFIX, Ids, Vectors, embedded_input
from sememe.vectors import normalise

BARS = 12
SHOWN = 5
ALMOST_EMPTY = 4
"""Tokens of text below which a chunk says almost nothing."""
NEAR = 0.98
"""The cosine from which two chunks are near duplicates."""
NOISE = 0.5
"""The share of visible characters that are neither letters nor digits from which a chunk is noise."""
LEAST_CHUNKS = 4
"""Chunks of a document from which the rest of them says what it is about."""
LEAST_DOCUMENTS = 8
REFERENCES = 256
"""Documents at most that a chunk is compared with."""
BLOCK = 1024
SAMPLE = 20_000
"""Chunks whose vectors are compared; of a larger collection an even sample, of chunks or of documents."""

KINDS = {
    "orphan heading": "a heading and nothing else",
    "cut sentence": "begins in the middle of a sentence",
    "duplicate": "the same input as an earlier chunk",
    "near duplicate": f"a cosine of {NEAR} or more to an earlier chunk, of those compared",
    "off topic": "nearer to most other documents than to the rest of its own, of those compared",
    "truncated": "longer than the model reads",
    "almost empty": f"fewer than {ALMOST_EMPTY} words or signs",
    "noise": "mostly signs, neither letters nor digits",
}
"""What is counted, and what it means."""

_WORDS = re.compile(r"\w+|[^\w\s]")
_ENDS = re.compile(r"(?:[.!?…:;。！？]['\")\]}»”’*_`]*\s*|\n\s*\n\s*)$")
_MARKS = re.compile(r"^\s*(?:#{1,6}\s.*|[=\-~^\"'`*+#]{3,})\s*$")
_STARTS_BELOW = re.compile(r"[a-z,;)\]]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk as it is judged. `prose` tells whether sentences mean something in it; `input` stands for its input."""

    id: int
    document: str
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    tokens: int
    kept: int
    input: int
    prose: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A chunk with a fault, and where it shows."""

    id: str
    document: str
    text: str


@dataclass(slots=True)
class Quality:
    """What was measured: `faults` by kind, `lengths` chunks by their tokens; `compared` chunks for near duplicates,
    `placed` ones with the rest of their documents.

    `repeated` are the chunks whose input an earlier one has.
    """

    chunks: int = 0
    compared: int = 0
    placed: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)

    def note(self, kind: str, piece: Piece, text: str) -> None:
        """Count a fault, and keep it if it is among the first."""
        self.faults[kind] += 1
        self.keep(kind, piece.id, document=piece.document, text=text)

    def keep(self, kind: str, chunk: int, *, document: str, text: str) -> None:
        """Keep an example, if there are not enough."""
        shown = self.examples.setdefault(kind, [])
        if len(shown) < SHOWN:
            shown.append(Example(f"{CHUNK_PREFIX}{chunk}", document, " ".join(text.split())[:120]))

    def of(self, kind: str) -> int:
        """How many chunks a fault was looked for in."""
        return {"near duplicate": self.compared, "off topic": self.placed}.get(kind, self.chunks)

    def percentile(self, share: float) -> int:
        """The tokens that `share` of the chunks do not exceed."""
        seen = 0
        for tokens, count in sorted(self.lengths.items()):
            seen += count
            if seen >= share * self.chunks:
                return tokens
        return 0

    def histogram(self) -> list[tuple[int, int, int]]:
        """First and last number of tokens of each bar, and how many chunks are in it."""
        if not self.lengths:
            return []
        width = -(-(max(self.lengths) + 1) // BARS)
        bars = Counter[int]()
        for tokens, count in self.lengths.items():
            bars[tokens // width] += count
        return [(bar * width, bar * width + width - 1, bars[bar]) for bar in range(max(bars) + 1)]

    def as_dict(self) -> dict[str, object]:
        """Everything, as JSON holds it."""
        return {
            "chunks": self.chunks, "compared": self.compared, "placed": self.placed,
            "tokens": {"median": self.percentile(0.5), "p95": self.percentile(0.95), "max": self.percentile(1.0)},
            "histogram": [list(bar) for bar in self.histogram()],
            "faults": {kind: self.faults[kind] for kind in KINDS},
            "examples": {
                kind: [{"id": e.id, "document": e.document, "text": e.text} for e in found]
                for kind, found in self.examples.items()
            },
        }  # fmt: skip


def measure(pieces: Iterable[Piece]) -> Quality:
    """Judge chunks, those of a document together and in order; near duplicates are not looked for."""
    quality, seen = Quality(), set[int]()
    for _, chunks in groupby(pieces, key=lambda piece: piece.document):
        before: Piece | None = None
        for piece in chunks:
            _judge(quality, piece, seen)
            if before is not None and piece.prose and before.prose:
                _judge_cut(quality, before, piece)
            before = piece
    return quality


def _judge(quality: Quality, piece: Piece, seen: set[int]) -> None:
    quality.chunks += 1
    quality.lengths[piece.tokens] += 1
    lines = [line for line in piece.text.splitlines() if line.strip()]
    if piece.prose and lines and all(map(_MARKS.match, lines)):
        quality.note("orphan heading", piece, piece.text)
    elif is_noise(piece.text):
        quality.note("noise", piece, piece.text)
    elif len(_WORDS.findall(piece.text[:200])) < ALMOST_EMPTY:
        quality.note("almost empty", piece, piece.text)
    if piece.kept < piece.tokens:
        quality.note("truncated", piece, f"{piece.tokens} tokens, {piece.kept} read: {piece.text}")
    if piece.input in seen:
        quality.note("duplicate", piece, piece.text)
        quality.repeated.add(piece.id)
    seen.add(piece.input)


def _judge_cut(quality: Quality, before: Piece, piece: Piece) -> None:
    """Between two chunks of one section: does the cut lie inside of a sentence?"""
    if before.headings != piece.headings and piece.start >= before.end:
        return
    left = before.text[: max(piece.start - before.start, 0)] if piece.start < before.end else before.text
    ends = _ENDS.search(left[-40:]) is not None
    goes_on = _STARTS_BELOW.match(piece.text) is not None
    if not ends and goes_on:
        quality.note("cut sentence", piece, f"{left[-60:]} | {piece.text[:60]}")


def is_noise(text: str) -> bool:
    """Whether most of what can be seen is neither letter nor digit: rules, tables of signs, binary remains."""
    visible = [character for character in text if not character.isspace()]
    plain = sum(character == "_" or unicodedata.category(character)[0] in "LNM" for character in visible)
    return len(visible) > ALMOST_EMPTY and plain < (1 - NOISE) * len(visible)


def near_duplicates(vectors: Vectors) -> list[int]:
    """The rows of `vectors (n, dim)`, each of unit length, that have an earlier one at a cosine of NEAR or more."""
    found: list[int] = []
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        close = np.zeros(len(block), dtype=bool)
        for other in range(0, start + len(block), BLOCK):
            likeness = block @ vectors[other : other + BLOCK].T
            rows, columns = np.nonzero(likeness >= NEAR)
            close[rows[columns + other < rows + start]] = True
        found += (np.flatnonzero(close) + start).tolist()
    return found


def off_topic(vectors: Vectors, owners: Ids) -> tuple[int, list[int]]:
    """How many rows of `vectors (n, dim)`, each of unit length, could be judged, and those that are off the topic of
    their document, by its number in `owners (n,)`: half of the other documents' centroids are nearer to them than that
    of their document's other rows.

    Without a threshold of its own, so that it means the same for models whose cosines lie elsewhere.
    """
    documents, member, counts = np.unique(owners, return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts >= LEAST_CHUNKS)
    if len(large) < LEAST_DOCUMENTS:
        return 0, []
    sums = np.zeros((len(documents), vectors.shape[1]), np.float32)
    np.add.at(sums, member, vectors)
    drawn = large[:: -(-len(large) // REFERENCES)]
    references = normalise(sums[drawn])
    judged = np.flatnonzero(counts[member] >= LEAST_CHUNKS)
    found: list[int] = []
    for start in range(0, len(judged), BLOCK):
        rows = judged[start : start + BLOCK]
        own = np.einsum("nd,nd->n", vectors[rows], normalise(sums[member[rows]] - vectors[rows]))
        others = vectors[rows] @ references.T
        others[member[rows][:, None] == drawn] = np.nan
        found += rows[np.nanmedian(others, axis=1) > own].tolist()
    return len(judged), found


def of_collection(folder: Path) -> Quality:
    """Measure everything that is stored in the collection in a folder, in one moment."""
    store = SQLiteStore(folder)
    try:
        with store.snapshot() as snapshot:
            quality = measure(pieces_of(snapshot))
            stored = snapshot.space()
            if stored is not None:
                _compare(quality, snapshot, stored[0].dim)
            return quality
    finally:
        store.close()


def pieces_of(snapshot: Snapshot) -> Iterator[Piece]:
    """All chunks, document by document."""
    for number in snapshot.live_documents():
        document = snapshot.documents([number])[number]
        prose = "sentence" in order_of(document.recipe.reader)
        for chunk in snapshot.chunks_of(number):
            yield Piece(
                id=chunk.id, document=document.key, start=chunk.start, end=chunk.end, text=chunk.text,
                headings=chunk.headings, tokens=chunk.tokens, kept=chunk.kept,
                input=input_number(chunk.headings, chunk.text), prose=prose,
            )  # fmt: skip


def input_number(headings: Sequence[str], text: str) -> int:
    """64 bits that stand for the string that is embedded."""
    digest = hashlib.blake2b(embedded_input(headings, text).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest())


def _compare(quality: Quality, snapshot: Snapshot, dim: int) -> None:
    """Count near duplicates and what is off topic. What is a duplicate already is neither."""
    chunks = [number for number in snapshot.live_chunks() if number not in quality.repeated]
    step = max(1, -(-len(chunks) // SAMPLE))
    ids, vectors = _units(snapshot, chunks[::step], dim)
    quality.compared = len(ids)
    _keep(quality, snapshot, "near duplicate", ids[near_duplicates(vectors)])
    owners = snapshot.documents_of(chunks)
    drawn = set(list(dict.fromkeys(owners.values()))[::step])
    ids, vectors = _units(snapshot, [number for number in chunks if owners[number] in drawn], dim)
    quality.placed, found = off_topic(vectors, np.array([owners[number] for number in ids.tolist()], np.int64))
    _keep(quality, snapshot, "off topic", ids[found])


def _units(snapshot: Snapshot, chunks: Sequence[int], dim: int) -> tuple[Ids, Vectors]:
    ids, vectors = snapshot.vectors(chunks, dim)
    return ids, normalise(vectors)


def _keep(quality: Quality, snapshot: Snapshot, kind: str, found: Ids) -> None:
    """Count chunks with a fault, and keep the first as examples."""
    quality.faults[kind] = len(found)
    shown = snapshot.chunks(found[:SHOWN].tolist())
    documents = snapshot.documents(chunk.document for chunk in shown.values())
    for number, chunk in shown.items():
        quality.keep(kind, number, document=documents[chunk.document].key, text=chunk.text)
