"""Exact search: every vector is compared. The index of small collections, and the oracle of every other one.

An `ExactIndex` is a value: a refresh makes a new one, so threads that still search the old one are not disturbed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sememe.index.faiss import products_at
from sememe.index.slab import Rows, found_at
from sememe.types import Changes, Ids, IndexRecord, Metric, Scores, Vectors
from sememe.vectors import SCAN_ROWS, best, near_best, scores_of

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which rows a filter lets through: `slab (rows,)` none of them dead, and `tail (m,)`."""

    slab: Mask
    tail: Mask

    @property
    def count(self) -> int:
        """How many they are."""
        return int(np.count_nonzero(self.slab)) + int(np.count_nonzero(self.tail))


@dataclass(frozen=True, slots=True)
class ExactIndex:
    """The rows of a slab, which of them are dead, and the tail of rows that the slab has not seen."""

    rows: Rows
    dead: Mask
    tail_ids: Ids
    tail_vectors: Vectors
    metric: Metric = "cosine"
    _live: int = field(init=False)

    def __post_init__(self) -> None:
        # Counted once: a million bools take as long as a tenth of a search.
        object.__setattr__(self, "_live", len(self.rows) - int(np.count_nonzero(self.dead)) + len(self.tail_ids))

    def __len__(self) -> int:
        return self._live

    @property
    def ids(self) -> Ids:
        """The ids of the slab's rows, dead ones included, and then those of the tail."""
        return np.concatenate([self.rows.ids, self.tail_ids])

    def search(
        self, queries: Vectors, k: int, *, start: int = 0, also: Ids | None = None, allowed: Allowed | None = None
    ) -> tuple[Ids, Scores]:
        """The k best ids of each query and their scores, (q, min(k, n)) each; equal scores by ascending id.

        Of the slab only the rows from `start` on are compared, and `also (m,)`, rows before it; the tail always is.
        With `allowed` nothing else is returned.
        """
        dead = self.dead if allowed is None else ~allowed.slab
        parts = [] if start == len(self.rows) else [self._scan(queries, k, start, dead, allowed)]
        if also is not None:
            parts.append(self._among(queries, k, also[~dead[also]]))
        ids, vectors = self.tail_ids, self.tail_vectors
        if allowed is not None and not allowed.tail.all():
            ids, vectors = ids[allowed.tail], vectors[allowed.tail]
        if len(ids) or not parts:
            parts.append(best(queries, vectors, ids, k=k, metric=self.metric))
        return parts[0] if len(parts) == 1 else merged(parts, k)

    def _scan(self, queries: Vectors, k: int, start: int, dead: Mask, allowed: Allowed | None) -> tuple[Ids, Scores]:
        dead = dead[start:]
        if allowed is not None and len(dead) and (alive := np.flatnonzero(~dead)).size < SCATTERED * len(dead):
            # Picking the rows out costs less than passing over all of them.
            return self._among(queries, k, alive.astype(np.int64) + start)
        vectors = self.rows.scanned(start)
        return best(queries, vectors, self.rows.ids[start:], k=k, dead=dead, metric=self.metric)

    def _among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Ids, Scores]:
        """The k best of some rows (m,) of the slab."""
        if len(self.rows) >= LARGE and len(queries) == 1 and self.metric == "cosine":
            self.rows.check_at(rows)
            rows = rows[near_best(products_at(self.rows.vectors, rows, queries[0]), k)]
        return best(queries, self.rows.take(rows), self.rows.ids[rows], k=k, metric=self.metric)

    def sample(self, count: int) -> Vectors:
        """Up to `count` live vectors at random, the same ones of the same rows: (min(count, n), dim)."""
        live = np.flatnonzero(~self.dead)
        total = len(live) + len(self.tail_ids)
        chosen = np.sort(np.random.default_rng(0).choice(total, size=min(count, total), replace=False))
        inside = chosen < len(live)
        return np.concatenate([self.rows.take(live[chosen[inside]]), self.tail_vectors[chosen[~inside] - len(live)]])

    def standing(self, query: Vectors, number: int, *, allowed: Allowed | None = None) -> tuple[int, float] | None:
        """The rank of one row among those that may be returned, from 1, and its score; None when it is not there.

        `query (dim,)`. The row itself need not be among `allowed`. Every vector is compared.
        """
        ids = self.ids
        live = np.concatenate([~self.dead, np.ones(len(self.tail_ids), bool)])
        own = np.flatnonzero((ids == number) & live)
        if not len(own):
            return None
        scores = np.concatenate([
            scores_of(query[None], vectors, metric=self.metric)[0] for vectors in (*self._blocks(), self.tail_vectors)
        ])  # fmt: skip
        score = scores[own[0]]
        better = (scores > score) | ((scores == score) & (ids < number))
        better &= live if allowed is None else np.concatenate([allowed.slab, allowed.tail])
        return 1 + int(np.count_nonzero(better)), float(score)

    def scores_at(self, query: Vectors, ids: Ids) -> Scores:
        """The scores of some ids (m,) for a query (dim,): (m,), -inf for those that have no vector here."""
        scores = np.full(len(ids), -np.inf, np.float32)
        rows, beside = self.rows.find(ids), found_at(self.tail_ids, np.argsort(self.tail_ids), ids)
        for at, vectors in ((rows, self.rows.take(rows[rows >= 0])), (beside, self.tail_vectors[beside[beside >= 0]])):
            scores[at >= 0] = scores_of(query[None], vectors, metric=self.metric)[0]
        return scores

    def _blocks(self) -> Iterator[Vectors]:
        for start in range(0, len(self.rows), SCAN_ROWS):
            self.rows.check(start, min(start + SCAN_ROWS, len(self.rows)))
            yield self.rows.vectors[start : start + SCAN_ROWS]

    def changed(self, changes: Changes) -> ExactIndex:
        """The index after `changes`: what went is masked or dropped, what came is in the tail."""
        dead = self.dead
        keep = np.ones(len(self.tail_ids), dtype=bool)
        if len(changes.deleted):
            dead = dead | np.isin(self.rows.ids, changes.deleted)
            keep = ~np.isin(self.tail_ids, changes.deleted)
        return replace(
            self, dead=dead, tail_ids=np.concatenate([self.tail_ids[keep], changes.added]),
            tail_vectors=np.concatenate([self.tail_vectors[keep], changes.vectors]),
        )  # fmt: skip


LARGE = 10_000
"""Rows of a slab that faiss has an index of: where that library is loaded, rows are compared without copying them."""

SCATTERED = 0.25
"""A share of rows below which gathering them is quicker than a scan that masks the rest."""


def merged(parts: list[tuple[Ids, Scores]], k: int) -> tuple[Ids, Scores]:
    """The k best of several answers to the same queries, equal scores by ascending id."""
    ids = np.concatenate([part[0] for part in parts], axis=1)
    scores = np.concatenate([part[1] for part in parts], axis=1)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def over_slab(rows: Rows, record: IndexRecord, *, metric: Metric = "cosine") -> ExactIndex:
    """An index over the mapped rows of a slab, without a tail."""
    dim = rows.vectors.shape[1]
    return ExactIndex(rows, record.dead, np.empty(0, np.int64), np.empty((0, dim), np.float32), metric)


def in_memory(ids: Ids, vectors: Vectors, *, metric: Metric = "cosine") -> ExactIndex:
    """An index over rows that are in no file."""
    empty = Rows(np.empty(0, np.int64), np.empty((0, vectors.shape[1]), np.float32), np.empty(0, np.uint32))
    return ExactIndex(empty, np.empty(0, bool), ids, vectors, metric)
