"""One ranking made of several. Each takes rankings as (ids best first, scores) and gives scores by id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sememe.types import Ids, Scores

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

Ranking = tuple[Ids, Scores]


def reciprocal_ranks(rankings: Sequence[Ranking], *, constant: int = RRF_K) -> dict[int, float]:
    """The sum over the rankings of 1 / (constant + rank), ranks from 1."""
    fused: dict[int, float] = {}
    for ids, _ in rankings:
        for rank, number in enumerate(ids.tolist(), start=1):
            fused[number] = fused.get(number, 0.0) + 1.0 / (constant + rank)
    return fused


def weighted(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[int, float]:
    """The weighted sum of scores, each ranking's stretched to [0, 1]; what a ranking does not hold counts 0 there."""
    fused: dict[int, float] = {}
    for (ids, scores), weight in zip(rankings, weights, strict=True):
        if weight == 0.0:
            continue
        for number, score in zip(ids.tolist(), _stretched(scores).tolist(), strict=True):
            fused[number] = fused.get(number, 0.0) + weight * score
    return fused


def _stretched(scores: Scores) -> Scores:
    """From 0 for the lowest to 1 for the highest; all 1 where they are equal."""
    if not len(scores) or scores.max() == scores.min():
        return np.ones_like(scores)
    stretched: Scores = (scores - scores.min()) / (scores.max() - scores.min())
    return stretched


def ordered(fused: dict[int, float]) -> list[tuple[int, float]]:
    """All of them, best first, equal scores by ascending id."""
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))
