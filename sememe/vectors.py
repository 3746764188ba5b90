"""The arithmetic of vectors, in NumPy: the oracle of every index and every test.

Shapes: `vectors (n, dim) float32`, `queries (q, dim) float32`, results `(q, k)`. This file knows no model, no
store and no file.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sememe.types import Ids, Metric, Scores, Vectors

Precision: TypeAlias = Literal["float16", "int8", "uint8", "binary", "ubinary"]

ONE_THREAD, UNDIVIDED = 4_000_000, 400_000
"""Numbers in a matrix up to which one thread multiplies it by a vector, and in a block that BLAS leaves to it (OpenBLAS
divides from 460,800 on)."""
SCAN_ROWS = 16_384
"""Rows of one block of a scan: 25 MB at 384 dimensions, which stays near the last cache level."""

ROUNDING = np.float32(1e-4)
"""More than float32 products of unit vectors can differ between two ways of summing them."""


def normalise(vectors: Vectors) -> Vectors:
    """Rows scaled to unit length; a row of zeros stays zeros. (n, dim) or (dim,)."""
    # Squares of float32 overflow beyond 1e19 and vanish below 1e-23; in float64 they do neither.
    norms = np.sqrt(np.einsum("...d,...d->...", vectors, vectors, dtype=np.float64))[..., None]
    unit: Vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return unit


def similarity(a: Vectors, b: Vectors) -> Scores:
    """Cosine of every row of a with every row of b: (n, m) float32."""
    product: Scores = normalise(np.atleast_2d(a)) @ normalise(np.atleast_2d(b)).T
    return product


def truncate(vectors: Vectors, dim: int) -> Vectors:
    """The first `dim` columns, scaled to unit length again (Kusupati et al. 2022, arXiv:2205.13147)."""
    if not 1 <= dim <= vectors.shape[-1]:
        raise ValueError(f"cannot keep {dim} of {vectors.shape[-1]} dimensions; choose 1 to {vectors.shape[-1]}")
    return normalise(np.ascontiguousarray(vectors[..., :dim]))


def ranges_of(vectors: Vectors) -> Vectors:
    """The least and the greatest value of every dimension: (2, dim), what int8 and uint8 are calibrated with."""
    return np.stack([vectors.min(0), vectors.max(0)])


def quantise(vectors: Vectors, precision: Precision, *, ranges: Vectors | None = None) -> npt.NDArray[Any]:
    """Vectors (n, dim) in fewer bytes, as sentence-transformers' `quantize_embeddings` has them.

    float16 halves them. int8 and uint8 say in which of 255 steps between `ranges` (2, dim) a number lies; binary and
    ubinary keep the signs, eight to a byte, the first in the highest bit: (n, ceil(dim / 8)), as int8 and as uint8.
    Raises ValueError when the ranges that a precision needs are missing.
    """
    if precision == "float16":
        return vectors.astype(np.float16)
    if precision in ("binary", "ubinary"):
        signs: npt.NDArray[Any] = np.packbits(vectors > 0, axis=-1)
        return signs if precision == "ubinary" else (signs ^ np.uint8(128)).view(np.int8)
    if ranges is None:
        raise ValueError(f"{precision} needs ranges; give ranges_of() vectors like these")
    places: Vectors = np.clip(np.floor((vectors - ranges[0]) / _steps(ranges)), 0, 255)
    return places.astype(np.uint8) if precision == "uint8" else (places - 128).astype(np.int8)


def dequantise(codes: npt.NDArray[Any], precision: Precision, *, dim: int, ranges: Vectors | None = None) -> Vectors:
    """Vectors (n, dim) float32 that `quantise` made `codes` of: the middle of each step, and signs as +1 and -1.

    Raises ValueError when the ranges that a precision needs are missing.
    """
    if precision == "float16":
        return codes.astype(np.float32)
    if precision in ("binary", "ubinary"):
        signs = codes if precision == "ubinary" else codes.view(np.uint8) ^ np.uint8(128)
        return np.unpackbits(signs, axis=-1, count=dim).astype(np.float32) * 2 - 1
    if ranges is None:
        raise ValueError(f"{precision} needs the ranges that the vectors were quantised with")
    places = codes.astype(np.float32) + (128.5 if precision == "int8" else 0.5)
    restored: Vectors = (ranges[0] + places * _steps(ranges)).astype(np.float32)
    return restored


def _steps(ranges: Vectors) -> Vectors:
    """How wide a step of every dimension is; 1 where all numbers were the same."""
    steps = (ranges[1] - ranges[0]) / np.float32(255)
    return np.where(steps == 0, np.float32(1), steps)


def scores_of(queries: Vectors, vectors: Vectors, *, metric: Metric = "cosine") -> Scores:
    """How near every row is to every query: (q, n) float32, higher is better.

    Cosine and dot are the inner product (a cosine space holds unit vectors); Euclidean is the distance, negated.
    Summed in float64 pair by pair, so that a score does not depend on what else is scored.
    """
    if metric == "euclidean":
        found = np.empty((len(queries), len(vectors)), np.float32)
        for i, query in enumerate(queries.astype(np.float64)):
            for start in range(0, len(vectors), SCAN_ROWS):
                difference = vectors[start : start + SCAN_ROWS] - query
                found[i, start : start + SCAN_ROWS] = -np.sqrt(np.einsum("nd,nd->n", difference, difference))
        return found
    products: Scores = np.einsum("nd,qd->qn", vectors, queries, dtype=np.float64).astype(np.float32)
    return products


def products(rows: Vectors, vector: Vectors) -> Scores:
    """The products of rows (n, dim) with a vector (dim,): (n,), in the calling thread unless they are many.

    BLAS divides a larger block among threads, and to wake one takes milliseconds when the cores are busy.
    """
    step = len(rows) if rows.size > ONE_THREAD else max(1, UNDIVIDED // max(1, rows.shape[1]))
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), step):
        np.dot(rows[start : start + step], vector, out=found[start : start + step])
    return found


def maxsim(query: Vectors, tokens: Vectors, starts: Ids) -> Scores:
    """How near texts of many vectors are to a query of many: the sum over its rows of their best products (Khattab and
    Zaharia 2020, arXiv:2004.12832).

    `query (q, dim)`, `tokens (t, dim)`; text i has the rows from `starts[i]` up to `starts[i + 1]`, (n + 1,) ascending.
    (n,) float32; a text without a row has no products, and scores -inf.
    """
    scores = np.full(len(starts) - 1, -np.inf, dtype=np.float32)
    filled = np.flatnonzero(np.diff(starts))
    if len(filled):
        products = query @ tokens[: starts[-1]].T
        scores[filled] = np.maximum.reduceat(products, starts[filled], axis=1).sum(0, dtype=np.float64)
    return scores


def best(
    queries: Vectors, vectors: Vectors, ids: Ids, *, k: int, dead: npt.NDArray[np.bool_] | None = None,
    metric: Metric = "cosine",
) -> tuple[Ids, Scores]:  # fmt: skip
    """The k rows nearest to each query: ids and scores as `scores_of` has them, (q, min(k, n)), best first.

    Rows that are `dead (n,)` are passed over and not counted in n. Equal scores are ordered by ascending id. A score
    depends neither on the block a row is in nor on how many rows are asked for: a larger k extends a smaller one.
    """
    alive = len(vectors) - (0 if dead is None else int(np.count_nonzero(dead)))
    shape = (len(queries), min(k, alive))
    found_ids, found_scores = np.empty(shape, np.int64), np.empty(shape, np.float32)
    if 0 in shape:
        return found_ids, found_scores
    for i, rows in enumerate(_candidates(queries, vectors, shape[1], dead, metric)):
        exact = scores_of(queries[i : i + 1], vectors[rows], metric=metric)[0]
        order = np.lexsort((ids[rows], -exact))[: shape[1]]
        found_ids[i], found_scores[i] = ids[rows][order], exact[order]
    return found_ids, found_scores


def _candidates(
    queries: Vectors, vectors: Vectors, k: int, dead: npt.NDArray[np.bool_] | None, metric: Metric
) -> list[Ids]:
    """For each query the live rows that may be among its k best: a superset by the rounding of a block product."""
    kept: list[list[tuple[Ids, Scores]]] = [[] for _ in queries]
    lengths = np.einsum("qd,qd->q", queries, queries, dtype=np.float64)
    slack = np.full(len(queries), ROUNDING)
    for start in range(0, len(vectors), SCAN_ROWS):
        part = vectors[start : start + SCAN_ROWS]
        block = products(part, queries[0])[None] if len(queries) == 1 else queries @ part.T
        if metric != "cosine":
            squares = np.einsum("nd,nd->n", part, part, dtype=np.float64)
            # Products of long vectors round by their length, those of unit vectors by 1.
            slack = np.maximum(slack, ROUNDING * (lengths + squares.max()).astype(np.float32))
            if metric == "euclidean":
                block = (2.0 * block - squares - lengths[:, None]).astype(np.float32)
        if dead is not None:
            block[:, dead[start : start + SCAN_ROWS]] = -np.inf
        for i, scores in enumerate(block):
            rows = near_best(scores, k, slack[i])
            kept[i].append((rows + start, scores[rows]))
    result = []
    for i, parts in enumerate(kept):
        rows = np.concatenate([part[0] for part in parts])
        result.append(rows[near_best(np.concatenate([part[1] for part in parts]), k, slack[i])])
    return result


def near_best(scores: Scores, k: int, slack: np.float32 = ROUNDING) -> Ids:
    """Positions of all finite scores (n,) that are not clearly below the kth best; products of unit vectors need no
    other slack."""
    if k >= len(scores):
        return np.flatnonzero(scores > -np.inf).astype(np.int64)
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    if threshold == -np.inf:
        return np.flatnonzero(scores > -np.inf).astype(np.int64)
    return np.flatnonzero(scores >= threshold - slack).astype(np.int64)


def sign_bits(vectors: Vectors) -> npt.NDArray[np.uint8]:
    """One bit a dimension, 1 where it is above 0: (n, dim) to (n, ceil(dim / 8)), the first in the highest bit."""
    return np.packbits(vectors > 0, axis=-1)


def hamming(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How many bits of every row of b (n, bytes) differ from those of a (bytes,): (n,)."""
    width = a.shape[-1]
    words = np.uint64 if width % 8 == 0 else np.uint8
    different = np.ascontiguousarray(b).view(words) ^ np.ascontiguousarray(a).view(words)
    counts: npt.NDArray[np.int64] = np.bitwise_count(different).sum(axis=1, dtype=np.int64)
    return counts
