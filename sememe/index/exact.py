"""Exact search: every vector is compared. The index of small collections, and the oracle of every other one.

An `ExactIndex` is a value: a refresh makes a new one, so threads that still search the old one are not disturbed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sememe.types import Changes, Ids, IndexRecord, Scores, Vectors
from sememe.vectors import best


@dataclass(frozen=True, slots=True)
class ExactIndex:
    """The rows of a slab, which of them are dead, and the tail of rows that the slab has not seen."""

    ids: Ids
    vectors: Vectors
    dead: npt.NDArray[np.bool_]
    tail_ids: Ids
    tail_vectors: Vectors

    def __len__(self) -> int:
        return len(self.ids) - int(self.dead.sum()) + len(self.tail_ids)

    def search(self, queries: Vectors, k: int) -> tuple[Ids, Scores]:
        """The k best ids of each query and their scores, (q, min(k, n)) each; equal scores by ascending id."""
        slab_ids, slab_scores = best(queries, self.vectors, self.ids, k=k, dead=self.dead)
        tail_ids, tail_scores = best(queries, self.tail_vectors, self.tail_ids, k=k)
        ids = np.concatenate([slab_ids, tail_ids], axis=1)
        scores = np.concatenate([slab_scores, tail_scores], axis=1)
        order = np.lexsort((ids, -scores), axis=1)[:, :k]
        return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def changed(self, changes: Changes) -> ExactIndex:
        """The index after `changes`: what went is masked or dropped, what came is in the tail."""
        dead = self.dead
        keep = np.ones(len(self.tail_ids), dtype=bool)
        if len(changes.deleted):
            dead = dead | np.isin(self.ids, changes.deleted)
            keep = ~np.isin(self.tail_ids, changes.deleted)
        return ExactIndex(
            ids=self.ids,
            vectors=self.vectors,
            dead=dead,
            tail_ids=np.concatenate([self.tail_ids[keep], changes.added]),
            tail_vectors=np.concatenate([self.tail_vectors[keep], changes.vectors]),
        )


def over_slab(ids: Ids, vectors: Vectors, record: IndexRecord) -> ExactIndex:
    """An index over the mapped rows of a slab, without a tail."""
    return ExactIndex(ids, vectors, record.dead, np.empty(0, np.int64), np.empty((0, vectors.shape[1]), np.float32))


def in_memory(ids: Ids, vectors: Vectors) -> ExactIndex:
    """An index over rows that are in no file."""
    empty = np.empty((0, vectors.shape[1]), np.float32)
    return ExactIndex(np.empty(0, np.int64), empty, np.empty(0, bool), ids, vectors)
