"""How near an approximate index comes to the truth, measured on a collection's own vectors.

Live rows are asked for their neighbours, the answers are compared with an exact scan, and every combination of cells
scanned and rows rescored becomes one row of a table, from which a search chooses. This file knows no index: it is
handed a function that searches one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sememe.types import Ids, Metric, Scores, Vectors
from sememe.vectors import scores_of

Gaps = Callable[[Vectors], Scores]
"""Query (dim,): how far every cell is behind the nearest one (cells,), ascending."""

K = 10
"""What recall is measured at."""

QUERIES = 200
TIMED = 20
"""Of the queries: a median of 20 is within a tenth, and the whole table is timed in about two seconds."""

POOLS = (50, 100, 150, 200, 400)
SCAN_ROWS = 4_096
FULL = 0.9995
"""A recall above which more cells are not tried: one neighbour of 2,000 is what 200 queries can tell."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How to search, and what it is worth: `candidates` rows out of the scanned cells are rescored exactly.

    Cells are scanned that are no more than `spread` behind the nearest one: few for a query in the middle of a cell,
    many for one between them. They are `probes` for half of the queries; a quarter of that at least, and at most four
    times as many. Without a spread they are always `probes`. `recall` is the mean share of the true 10 nearest
    neighbours found, `milliseconds` the median time of a query on one thread, rescoring included.
    """

    probes: int
    candidates: int
    recall: float
    milliseconds: float
    spread: float | None = None


Search = Callable[[Vectors, Setting, int], Ids]
"""Query (dim,), how to search, rows wanted: row numbers, the most promising first."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Rows that serve as queries (q,), and the score of the last true neighbour of each, itself left out."""

    rows: Ids
    last: Scores


def measure(
    search: Search, vectors: Vectors, live: npt.NDArray[np.bool_], *, gaps: Gaps, metric: Metric, cells: int
) -> tuple[Setting, ...]:
    """The table of an index over `vectors (n, dim)`: what no other row of it beats, the fewest cells first."""
    rows = np.flatnonzero(live).astype(np.int64)
    k = min(K, len(rows) - 1)
    if k < 1:
        return (Setting(cells, max(POOLS), 1.0, 0.0),)
    truth = _asked(vectors, live, rows, k=k, metric=metric)
    asked = truth.rows
    spreads = np.median([gaps(vectors[row]) for row in asked], axis=0)
    found: list[Setting] = []
    for probes in _steps(cells):
        spread = None if probes == cells else float(spreads[probes - 1])
        found += _at(search, vectors, truth, Setting(probes, 0, 0.0, 0.0, spread), k=k, metric=metric)
        if found[-1].recall >= FULL:
            break
    kept = [setting for setting in found if not any(_beats(other, setting) for other in found)]
    return tuple(_timed(search, vectors, kept, asked[:TIMED], metric=metric))


def recall_of(
    search: Search, vectors: Vectors, live: npt.NDArray[np.bool_], *, setting: Setting, metric: Metric
) -> float:
    """The mean share of the true 10 neighbours that one setting finds of live rows, as in a table."""
    rows = np.flatnonzero(live).astype(np.int64)
    k = min(K, len(rows) - 1)
    if k < 1:
        return 1.0
    truth = _asked(vectors, live, rows, k=k, metric=metric)
    return _at(search, vectors, truth, setting, k=k, metric=metric, pools=(setting.candidates,))[0].recall


def sampled(
    vectors: Vectors, live: npt.NDArray[np.bool_], *, count: int, metric: Metric
) -> tuple[Ids, Scores]:  # fmt: skip
    """Live rows to ask for their neighbours (q,), and the score of the last of each one's true 10, itself left out.

    Under Euclidean distance that is the distance, negated.
    """
    rows = np.flatnonzero(live).astype(np.int64)
    asked = np.sort(np.random.default_rng(0).choice(rows, size=min(count, len(rows)), replace=False))
    last = _last_scores(vectors, live, asked, k=max(1, min(K, len(rows) - 1)), metric=metric)
    if metric == "euclidean":
        squares = np.einsum("nd,nd->n", vectors[asked], vectors[asked])
        last = -np.sqrt(np.maximum(squares - last, 0.0))
    return asked, last


def _steps(cells: int) -> list[int]:
    """From a hundredth of the cells to all of them, each step half as many again."""
    steps = [max(1, cells // 100)]
    while steps[-1] < cells:
        steps.append(min(cells, steps[-1] + max(1, steps[-1] // 2)))
    return steps


def _beats(one: Setting, other: Setting) -> bool:
    """Whether one costs no more in anything, finds no less, and is another."""
    return (
        one.probes <= other.probes
        and one.candidates <= other.candidates
        and one.recall >= other.recall
        and (one.probes, one.candidates) != (other.probes, other.candidates)
    )


def _asked(vectors: Vectors, live: npt.NDArray[np.bool_], rows: Ids, *, k: int, metric: Metric) -> _Asked:
    asked = np.sort(np.random.default_rng(0).choice(rows, size=min(QUERIES, len(rows)), replace=False))
    return _Asked(asked, _last_scores(vectors, live, asked, k=k, metric=metric))


def _last_scores(vectors: Vectors, live: npt.NDArray[np.bool_], asked: Ids, *, k: int, metric: Metric) -> Scores:
    """The kth best score of each asked row among the other live rows, as `_scores` has it: (q,)."""
    queries = np.ascontiguousarray(vectors[asked])
    best = np.full((len(asked), k), -np.inf, np.float32)
    for start in range(0, len(vectors), SCAN_ROWS):
        part = vectors[start : start + SCAN_ROWS]
        block = queries @ part.T
        if metric == "euclidean":
            block = 2.0 * block - np.einsum("nd,nd->n", part, part)
        block[:, ~live[start : start + SCAN_ROWS]] = -np.inf
        inside = np.flatnonzero((asked >= start) & (asked < start + len(part)))
        block[inside, asked[inside] - start] = -np.inf
        if len(part) > k:
            block = np.partition(block, len(part) - k, axis=1)[:, -k:]
        best = np.partition(np.concatenate([best, block], axis=1), -k, axis=1)[:, -k:]
    last: Scores = best.min(axis=1)
    return last


def _at(
    search: Search, vectors: Vectors, truth: _Asked, how: Setting, *, k: int, metric: Metric,
    pools: Sequence[int] = POOLS,
) -> list[Setting]:  # fmt: skip
    """One search of the largest pool tells what the smaller ones find: they are its beginnings."""
    hits = np.zeros(len(pools))
    for row, last in zip(truth.rows, truth.last, strict=True):
        query = vectors[row]
        found = search(query, how, max(pools) + 1)
        found = found[found != row]
        part = vectors[found]
        scores = part @ query
        if metric == "euclidean":
            scores = 2.0 * scores - np.einsum("nd,nd->n", part, part)
        # Rows that tie with the last neighbour are as good, and a product may round either way.
        good = scores >= last - 1e-5 * max(1.0, abs(float(last)))
        hits += np.array([min(k, np.count_nonzero(good[:pool])) for pool in pools])
    share = hits / (k * len(truth.rows))
    return [replace(how, candidates=pool, recall=float(found)) for pool, found in zip(pools, share, strict=True)]


def _timed(
    search: Search, vectors: Vectors, settings: Sequence[Setting], asked: Ids, *, metric: Metric
) -> list[Setting]:
    """The settings with their times, taken in turns, so that a busy moment slows all of them."""
    times: list[list[float]] = [[] for _ in settings]
    for row in asked:
        query = np.array(vectors[row])
        for setting, taken in zip(settings, times, strict=True):
            start = time.perf_counter()
            found = search(query, setting, setting.candidates)
            scores_of(query[None], vectors[found], metric=metric)
            taken.append(time.perf_counter() - start)
    return [
        replace(setting, milliseconds=round(1000 * statistics.median(taken), 4))
        for setting, taken in zip(settings, times, strict=True)
    ]
