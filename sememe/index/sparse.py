"""An inverted index over sparse vectors: for every word the rows that have it, and its weight in each.

A search adds up, word by word of the query, what every row gains: the exact inner product. The index is a folder of
NumPy arrays that are mapped into memory; rows are deleted by a mask. This file knows indices and weights; it does not
know the words they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sememe.index.arrays import Indexed, saved
from sememe.types import Ids, Scores, SparseVector

ARRAYS = ("ids", "starts", "rows", "weights", "dead")


class SparseIndex(Indexed):
    """Rows by the words they have. `starts (words + 1,)` delimits each word's part of `rows` and `weights`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ARRAYS)
        self._starts, self._rows, self._weights = (self._arrays[name] for name in ("starts", "rows", "weights"))

    def search(self, query: SparseVector, k: int) -> tuple[Ids, Scores]:
        """The k ids with the greatest inner products above 0, and those; equal ones by ascending id."""
        scores = np.zeros(len(self._ids), dtype=np.float64)
        known = query.indices < len(self._starts) - 1
        for word, weight in zip(query.indices[known].tolist(), query.values[known].tolist(), strict=True):
            part = slice(self._starts[word], self._starts[word + 1])
            scores[self._rows[part]] += self._weights[part] * weight
        found = np.flatnonzero((scores > 0) & ~self._dead)
        if len(found) > k:
            least = np.partition(scores[found], len(found) - k)[len(found) - k]
            found = found[scores[found] >= least]
        order = np.lexsort((self._ids[found], -scores[found]))[:k]
        return self._ids[found][order], scores[found][order].astype(np.float32)


def build(folder: Path, ids: Ids, vectors: Sequence[SparseVector]) -> SparseIndex:
    """Write an index of these vectors into an empty folder, and open it."""
    words = np.concatenate([vector.indices for vector in vectors] or [np.zeros(0, np.int32)])
    weights = np.concatenate([vector.values for vector in vectors] or [np.zeros(0, np.float32)])
    rows = np.repeat(np.arange(len(vectors), dtype=np.int32), [len(vector.indices) for vector in vectors])
    order = np.argsort(words, kind="stable")
    counts = np.bincount(words, minlength=int(words.max(initial=-1)) + 1)
    saved(
        folder,
        {
            "ids": ids, "starts": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), "rows": rows[order],
            "weights": weights[order].astype(np.float32), "dead": np.zeros(len(ids), dtype=bool),
        },
    )  # fmt: skip
    return SparseIndex(folder)


def shared(query: SparseVector, text: SparseVector) -> list[tuple[int, float]]:
    """The words that a query and a text share and what each adds to their inner product, the most first."""
    words, mine, its = np.intersect1d(query.indices, text.indices, assume_unique=True, return_indices=True)
    products = query.values[mine] * text.values[its]
    order = np.argsort(-products, kind="stable")
    return [(int(words[i]), float(products[i])) for i in order]
