"""How surprising a score is: the share of random chunks of this collection that would score as high for this query.

Times the number of chunks it is the expected number of them, as BLAST states its hits (Karlin and Altschul 1990,
"Methods for assessing the statistical significance of molecular sequence features by using general scoring schemes").

Scores of vectors: the query is compared with a sample of the collection. The rank that a score would have in it is its
share, without a model; beyond the second best the share falls by a generalised Pareto law (Pickands 1975), as steeply
as the highest twentieth lies. A query is taken to have one answer in the collection, which is no random chunk: it is in
the sample as often as any other chunk, and then the best there. Scores of words: every term is in a chunk with the
probability that the index knows, independently of the others, and then gives about its weight; the sums are counted out
on a grid. This file knows scores and no index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sememe.types import Scores

Shares = npt.NDArray[np.float64]

SAMPLE = 2_000
"""Vectors that a query is compared with: .2 ms at 384 dimensions."""

LEAST = 40
"""A smaller sample says nothing about a tail."""

TAIL = 0.05
ROUNDING = 1e-6
"""What two ways of computing a score of about 1 differ by: what is less above another one is not above it."""

FEWEST = 10
"""Of a sample that the scale of its tail is read from, at least."""

SHAPE = 0.09
"""Of the tail: 0 is exponential, and more falls off more slowly. Fitted query by query it would follow noise; this one
was chosen on the development queries of each set of benchmarks/fusion.py."""

PARTS = ((0.6, 0.15), (0.8, 0.2), (1.0, 0.3), (1.2, 0.2), (1.4, 0.15))
"""What a term gives, in units of its weight, and how often: short texts give more, long ones less."""

GRID = 512
WORDS_WEIGHT = 0.2
"""Of the surprise of words, where that of meaning counts once: chosen on the development queries of three corpora."""

SMALLEST = 1e-30
"""No share is said to be less: a logarithm has to end somewhere."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The share of random chunks above a score: by rank in the `sample`, ascending, and by a law of a `scale` beyond
    the second best. `answers` of the sample, between 0 and 1, are expected to be no random chunks."""

    sample: Scores
    answers: float
    scale: float

    def shares(self, scores: Scores) -> Shares:
        """How many of all random chunks score at least as high: (n,), between 0 and 1."""
        random = len(self.sample) + 1 - self.answers
        least = scores.astype(np.float64) - ROUNDING * max(abs(float(self.sample[-2])), 1.0)
        ranks = np.log((np.arange(len(self.sample), 1.0, -1.0) - self.answers) / random)
        second = self.sample[-2]
        beyond = np.maximum(least - second, 0.0)
        # Of equal ones each is one of all: the share of the first counts.
        values, first = np.unique(self.sample[:-1], return_index=True)
        known = np.interp(least, values, ranks[first], left=0.0)
        if self.scale > 0.0:
            known -= np.log1p(SHAPE * beyond / self.scale) / SHAPE
        else:
            known[beyond > 0.0] = -math.inf
        return np.maximum(np.exp(known), SMALLEST)


def tail_of(sample: Scores, chunks: int) -> Tail:
    """The tail of the scores of a random sample (m,), LEAST of them at least, of so many chunks."""
    ascending = np.sort(sample)
    beyond = max(round(TAIL * len(ascending)), FEWEST)
    excess = ascending[-beyond:].astype(np.float64) - float(ascending[-beyond - 1])
    # The best may be an answer, so of it no more is taken than that it lies beyond the second.
    return Tail(
        ascending, len(ascending) / max(chunks, len(ascending)), float(excess[:-1].sum() + excess[-2]) / (beyond - 1)
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """The share of random chunks above a score that is a sum over words. `above (GRID + 1,)`, a `step` apart."""

    above: Shares
    step: float

    def shares(self, scores: Scores) -> Shares:
        """How many of all random chunks score at least as high: (n,), between 0 and 1."""
        if not self.step:
            return np.ones(len(scores))
        # Half a step, for the parts are rounded to the nearest one.
        places = np.ceil(scores.astype(np.float64) / self.step - 0.5).astype(np.int64)
        return np.maximum(self.above[np.clip(places, 0, GRID)], SMALLEST)


def counted(terms: Sequence[tuple[float, float]]) -> Counted:
    """The distribution of a sum over terms: of each its weight, and the share of chunks that hold it."""
    step = sum(weight for weight, _ in terms) * PARTS[-1][0] / GRID
    density = np.zeros(GRID + 1)
    density[0] = 1.0
    for weight, share in terms if step else ():
        with_it = density * (1.0 - share)
        for part, how_often in PARTS:
            ahead = round(weight * part / step)
            with_it[ahead:] += share * how_often * density[: GRID + 1 - ahead]
        density = with_it
    return Counted(np.cumsum(density[::-1])[::-1], step)


def surprise(shares: Shares) -> Shares:
    """The evidence of a share in common units: -log10, so 3 where one in a thousand chunks scores as high."""
    return -np.log10(shares)


def evidence(meaning: Shares, words: Shares) -> Shares:
    """The evidence of both parts together: the sum of their surprises, that of words by its weight."""
    return surprise(meaning) + WORDS_WEIGHT * surprise(words)


def joint(together: Shares) -> Shares:
    """The share of random chunks whose evidence of both parts is as great.

    The surprise of one part is distributed exponentially over random chunks, so that of the weighted sum is the
    hypoexponential law; with equal weights it would be Fisher's method.
    """
    one, other = 1.0 / math.log(10.0), WORDS_WEIGHT / math.log(10.0)
    return (one * np.exp(-together / one) - other * np.exp(-together / other)) / (one - other)
