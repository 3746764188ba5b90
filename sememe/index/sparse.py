"""An inverted index over sparse vectors: for every word the rows that have it, and its weight in each.

A search adds up, word by word of the query, what every row gains: the exact inner product. The index is a folder of
NumPy arrays that are mapped into memory; rows are deleted by a mask. This file knows indices and weights; it does not
know the words they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sememe.index.arrays import Indexed, saved
from sememe.index.terms import TermPart
from sememe.types import Ids, Scores, SparseVector, Vectors

ARRAYS = ("ids", "starts", "rows", "weights", "dead")


@dataclass(frozen=True, slots=True)
class Postings:
    """For every word the rows that have it and its weight in each: `starts (words + 1,)` delimits its part."""

    starts: Ids
    rows: npt.NDArray[np.int32]
    weights: Vectors

    def scores(self, query: SparseVector, count: int) -> npt.NDArray[np.float64]:
        """The inner product of a query with each of the `count` rows: (count,)."""
        scores = np.zeros(count, dtype=np.float64)
        known = query.indices < len(self.starts) - 1
        for word, weight in zip(query.indices[known].tolist(), query.values[known].tolist(), strict=True):
            part = slice(self.starts[word], self.starts[word + 1])
            scores[self.rows[part]] += self.weights[part] * np.float64(weight)
        return scores

    def frequency(self, word: int) -> int:
        """How many rows have a word."""
        return int(self.starts[word + 1] - self.starts[word]) if word < len(self.starts) - 1 else 0


def postings(vectors: Sequence[SparseVector]) -> Postings:
    """The words of rows, turned round."""
    words = np.concatenate([vector.indices for vector in vectors] or [np.zeros(0, np.int32)])
    weights = np.concatenate([vector.values for vector in vectors] or [np.zeros(0, np.float32)])
    rows = np.repeat(np.arange(len(vectors), dtype=np.int32), [len(vector.indices) for vector in vectors])
    order = np.argsort(words, kind="stable")
    counts = np.bincount(words, minlength=int(words.max(initial=-1)) + 1)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Postings(starts, rows[order], weights[order].astype(np.float32))


def best(ids: Ids, scores: npt.NDArray[np.float64], k: int, *, alive: npt.NDArray[np.bool_]) -> tuple[Ids, Scores]:
    """The k ids of live rows with the greatest scores above 0, and those; equal ones by ascending id."""
    found = np.flatnonzero((scores > 0) & alive)
    if len(found) > k:
        least = np.partition(scores[found], len(found) - k)[len(found) - k]
        found = found[scores[found] >= least]
    order = np.lexsort((ids[found], -scores[found]))[:k]
    return ids[found][order], scores[found][order].astype(np.float32)


class SparseIndex(Indexed):
    """Rows by the words they have."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ARRAYS)
        self._postings = Postings(*(self._arrays[name] for name in ("starts", "rows", "weights")))

    def search(self, query: SparseVector, k: int) -> tuple[Ids, Scores]:
        """The k ids with the greatest inner products above 0, and those; equal ones by ascending id."""
        return best(self._ids, self._postings.scores(query, len(self._ids)), k, alive=~self._dead)


def build(folder: Path, ids: Ids, vectors: Sequence[SparseVector]) -> SparseIndex:
    """Write an index of these vectors into an empty folder, and open it."""
    made = postings(vectors)
    saved(
        folder,
        {
            "ids": ids, "starts": made.starts, "rows": made.rows, "weights": made.weights,
            "dead": np.zeros(len(ids), dtype=bool),
        },
    )  # fmt: skip
    return SparseIndex(folder)


def to_bytes(vector: SparseVector) -> bytes:
    """A vector as it is stored: its indices as int32, and then its values as float32, little-endian."""
    return vector.indices.astype("<i4").tobytes() + vector.values.astype("<f4").tobytes()


def from_bytes(data: bytes) -> SparseVector:
    """The inverse of `to_bytes`."""
    half = len(data) // 2
    return SparseVector(np.frombuffer(data[:half], "<i4"), np.frombuffer(data[half:], "<f4"))


def word_parts(
    query: SparseVector, text: SparseVector, body: str, *, named: Callable[[int], str], rows: Callable[[int], int]
) -> list[TermPart]:
    """The words that a query and a text share with their parts of the score, and where they stand in the text's body:
    many stand nowhere in it, for a model adds words of its own. `named` gives a word's piece, `rows` how many have it.
    """
    found = []
    for word, score in shared(query, text):
        piece = named(word)
        bare = piece.removeprefix("##").lstrip("\u2581\u0120").removesuffix("</w>")
        start = "" if piece.startswith("##") else r"(?<!\w)"
        places = re.finditer(start + re.escape(bare), body, re.IGNORECASE) if bare else ()
        found.append(TermPart(bare or piece, rows(word), score, tuple(place.span() for place in places)))
    return found


def shared(query: SparseVector, text: SparseVector) -> list[tuple[int, float]]:
    """The words that a query and a text share and what each adds to their inner product, the most first."""
    words, mine, its = np.intersect1d(query.indices, text.indices, assume_unique=True, return_indices=True)
    products = query.values[mine] * text.values[its]
    order = np.argsort(-products, kind="stable")
    return [(int(words[i]), float(products[i])) for i in order]
