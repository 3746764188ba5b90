"""The funnel: all rows are compared by something short, some of them by more, the last ones by their whole vectors.

The first stage reads codes that are kept in memory: sign bits, or the first dimensions, which hold most of the meaning
of models that were trained so (Kusupati et al. 2022, arXiv:2205.13147; for the funnel Rege et al. 2023,
arXiv:2305.19435). How much must be kept so that nothing is lost is measured on the collection's own vectors. This file
knows rows and no ids; rows that may not be returned are left out by the caller's mask.
"""

from __future__ import annotations

import json
import re
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sememe.errors import InputError
from sememe.index.probe import K, sampled
from sememe.index.slab import Rows
from sememe.types import Ids, Metric, Progress, Scores, Vectors
from sememe.vectors import hamming, normalise, scores_of, sign_bits

NAME = "funnel"
"""What the truth calls the table: its writer and its readers have to agree."""

BITS = "bits"
MIN_ROWS, MOST_ROWS = 1_000, 100_000
"""Collections whose funnels are measured: at most in 12 seconds and 300 MB. Of larger ones cells are scanned."""

QUERIES = 64
PREFIXES = (64, 128, 256)
KEPT = (25, 50, 100, 200, 400, 800, 1_600, 3_200)
STAGE = re.compile(r"(bits|[1-9][0-9]*):([1-9][0-9]*)")

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8] | Vectors


@dataclass(frozen=True, slots=True)
class Stage:
    """What rows are compared by, "bits" or a number of dimensions, and how many of them go on."""

    by: str
    keep: int

    def __str__(self) -> str:
        return f"{self.by}:{self.keep}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a funnel of one stage and then whole vectors is worth: the mean share of the true 10 nearest neighbours
    found, and the median time of a query in milliseconds. `bytes` are those of a row's code."""

    by: str
    keep: int
    recall: float
    milliseconds: float
    bytes: int


def parse(text: str, dim: int) -> tuple[Stage, ...]:
    """The stages of "bits:2000,128:200,full". Raises InputError for what cannot be understood."""
    parts = [part.strip() for part in text.split(",")]
    stages = []
    for part in parts[:-1] if parts[-1] == "full" else parts:
        found = STAGE.fullmatch(part)
        if found is None:
            raise InputError(f"the funnel {text!r} has a stage {part!r}; write it like bits:500,full or 64:1000,full")
        if found[1] != BITS and int(found[1]) > dim:
            raise InputError(f"the funnel {text!r} wants {found[1]} dimensions of {dim}; take fewer")
        stages.append(Stage(found[1], int(found[2])))
    if not stages or any(after.keep > before.keep for before, after in pairwise(stages)):
        raise InputError(f"the funnel {text!r} must keep fewer from stage to stage; write it like bits:500,64:100,full")
    return tuple(stages)


def choose(table: Sequence[Measured], recall: float) -> Stage:
    """The quickest stage that finds the share `recall` of the true neighbours, else the one that finds most."""
    enough = [row for row in table if row.recall >= recall]
    best = min(enough, key=lambda row: row.milliseconds) if enough else max(table, key=lambda row: row.recall)
    return Stage(best.by, best.keep)


class Funnel:
    """The codes of the rows of a slab, each kind made when it is first asked for; several threads may search."""

    def __init__(self, rows: Rows, metric: Metric) -> None:
        self._rows = rows
        self._metric: Metric = metric
        self._codes: dict[str, Codes] = {}
        self._lock = threading.Lock()

    def candidates(self, query: Vectors, stages: Sequence[Stage], alive: Mask | None = None) -> Ids:
        """Rows that are probably nearest to the query (dim,), as many as the last stage keeps; only `alive` ones."""
        found = _first(self._scores(query, stages[0].by), stages[0].keep, alive)
        for stage in stages[1:]:
            part = self._rows.take(found)
            scores = _compared(query, _code(part, stage.by, self._metric), stage.by, self._metric)
            found = found[_first(scores, stage.keep, None)]
        return found

    def _scores(self, query: Vectors, by: str) -> Scores:
        with self._lock:
            if by not in self._codes:
                self._codes[by] = _code(self._rows.scanned(), by, self._metric)
        return _compared(query, self._codes[by], by, self._metric)


def _code(vectors: Vectors, by: str, metric: Metric) -> Codes:
    """What rows are compared by: (n, ceil(dim / 8)) uint8, or (n, columns) float32."""
    if by == BITS:
        return sign_bits(vectors)
    prefix: Vectors = np.ascontiguousarray(vectors[..., : int(by)])
    return normalise(prefix) if metric == "cosine" else prefix


def _compared(query: Vectors, codes: Codes, by: str, metric: Metric) -> Scores:
    """How near the codes of rows are to that of the query: (n,), higher is better."""
    code = _code(query, by, metric)
    if by == BITS:
        return -hamming(code.astype(np.uint8, copy=False), codes.astype(np.uint8, copy=False)).astype(np.float32)
    products: Scores = np.asarray(codes @ code, dtype=np.float32)
    if metric == "euclidean":
        products = 2.0 * products - np.einsum("nd,nd->n", codes, codes)
    return products


def _first(scores: Scores, count: int, alive: Mask | None) -> Ids:
    """The positions of the `count` best, of equal ones the first, ascending."""
    positions: Ids = np.arange(len(scores)) if alive is None else np.flatnonzero(alive)
    if count >= len(positions):
        return positions
    near = scores[positions]
    least = np.partition(near, len(near) - count)[len(near) - count]
    above, level = np.flatnonzero(near > least), np.flatnonzero(near == least)
    chosen = np.sort(np.concatenate([above, level[: count - len(above)]]))
    found: Ids = positions[chosen]
    return found


def measure(rows: Rows, live: Mask, *, metric: Metric, progress: Progress | None = None) -> list[Measured]:
    """What every first stage finds and costs, over live rows that serve as queries, themselves left out."""
    vectors = rows.scanned()
    asked, last = sampled(vectors, live, count=QUERIES, metric=metric)
    dim = vectors.shape[1]
    forms = [BITS, *(str(prefix) for prefix in PREFIXES if prefix < dim)]
    funnel, found = Funnel(rows, metric), []
    for done, by in enumerate(forms):
        for keep in KEPT:
            hits, times = 0, []
            for row, least in zip(asked.tolist(), last.tolist(), strict=True):
                query = np.array(vectors[row])
                start = time.perf_counter()
                near = funnel.candidates(query, [Stage(by, keep + 1)], live)
                scores = scores_of(query[None], vectors[near], metric=metric)[0][near != row]
                times.append(time.perf_counter() - start)
                # Rows that tie with the last neighbour are as good, and a product may round either way.
                hits += min(K, int(np.count_nonzero(scores >= least - 1e-5 * max(1.0, abs(least)))))
            recall = hits / (min(K, max(1, int(live.sum()) - 1)) * len(asked))
            size = -(-dim // 8) if by == BITS else 4 * int(by)
            found.append(Measured(by, keep, recall, round(1000 * statistics.median(times), 4), size))
            if recall == 1:
                break
        if progress is not None:
            progress(done + 1, len(forms))
    return found


def to_json(table: Sequence[Measured]) -> str:
    """The table as the truth keeps it."""
    return json.dumps([asdict(row) for row in table])


def from_json(text: str) -> list[Measured]:
    """The inverse of `to_json`."""
    return [Measured(**row) for row in json.loads(text)]
