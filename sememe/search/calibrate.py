"""How surprising a score is: the share of random chunks of this collection that would score as high for this query.

Times the number of chunks it is the expected number of them, as BLAST states its hits (Karlin and Altschul 1990,
"Methods for assessing the statistical significance of molecular sequence features by using general scoring schemes").

The TOP scores of the whole collection are known, and so their ranks: of as many chunks drawn anew, r are expected to
score as high as the rth of them. The first may be answers, which are no random chunks: beyond the EDGE the number falls
by a generalised Pareto law (Pickands 1975), as steeply as the scores just below lie, which is as many powers of ten in
a large collection as in a small one. Below the TOP scores it is read from a body: of vectors the ranks in a random
sample, of words a count of the sums that terms give where every term is in a chunk with the probability that the index
knows, independently of the others. This file knows scores and no index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sememe.types import Scores

Shares = npt.NDArray[np.float64]

SAMPLE = 2_000
"""Vectors that a query is compared with: .2 ms at 384 dimensions."""

LEAST = 40
"""A smaller collection has no tail to judge by."""

TOP = 65
"""Of the whole collection the best scores, whose ranks are known."""

ANSWERS = 0.5
"""Of the best scores, those of no random chunks: a query may have an answer, or none that is near."""

EDGE, NEAR, MIDDLE, FAR = 5, 10, 16, 64
"""Places, from 0, among the TOP scores. What is better than the EDGE may be answers and what is like them: of those no
more is taken than that they lie beyond it. The scale of the tail is read from the EDGE to NEAR, and whether it grows
outwards from the EDGE to MIDDLE beside MIDDLE to FAR."""

BEND = 0.3
"""By which power of that the scale grows on."""

SHAPE = 0.3
"""Of the law: 0 is exponential, and more falls off more slowly. Most of it is what five scores leave unknown of their
scale: where they are exponential, the law of a new one is Pareto with 1/5."""

FUSED_SHAPE = 0.22
"""The same of sums of evidence."""

HIGHEST, FEWEST = 0.05, 10
EVIDENCE_SHAPE = 0.09
"""What a meaning is worth as evidence is read from the highest twentieth of a sample, FEWEST scores at least: that is
the same for near and far hits, and orders them better than a tail that is read from the best of all."""

WORDS_STEP = 0.08
"""Of the score at the edge, the least scale of a tail of words: chunks of the same words score alike, and one word more
adds at once what it weighs."""

LEAST_SCALE = 0.1
"""Of the scale at which shares fall from the middle of all scores to the edge, the least of the law beyond it: where
texts that are nearly the same lie about the edge, their scores tell nothing of how far others lie apart."""

ROUNDING = 1e-6
"""What two ways of computing a score of about 1 differ by: what is less above another one is not above it."""

PARTS = ((0.6, 0.15), (0.8, 0.2), (1.0, 0.3), (1.2, 0.2), (1.4, 0.15))
"""What a term gives, in units of its weight, and how often: short texts give more, long ones less."""

GRID = 512
WORDS_WEIGHT = 0.2
"""Of the surprise of words, where that of meaning counts once: chosen on the development queries of three corpora."""

MIDMOST = 0.5
"""The share that reaches the middle of the scores."""

MOST_EVIDENCE = 12.0
"""More than the last of the TOP has in any collection."""

SMALLEST = 1e-30
"""No share is said to be less: a logarithm has to end somewhere."""


@dataclass(frozen=True, slots=True)
class Body:
    """Scores, ascending and each once, and the share of all chunks that score at least as high: (n,), (n,)."""

    scores: Scores
    above: Shares

    def at(self, score: float) -> float:
        """The share of chunks that score at least so high."""
        place = int(np.searchsorted(self.scores, score - _rounding(score)))
        return float(self.above[place]) if place < len(self.scores) else 0.0

    def fall(self, score: float, share: float) -> float:
        """The scale of an exponential law between the middle of the scores and one that such a share reaches."""
        middle = int(np.searchsorted(-self.above, -MIDMOST, side="right")) - 1
        if middle < 0 or share >= MIDMOST:
            return 0.0
        return max(score - float(self.scores[middle]), 0.0) / math.log(float(self.above[middle]) / share)

    def shares(self, scores: Scores) -> Shares:
        """The shares of chunks that score at least as high: (n,)."""
        return np.exp(np.interp(scores, self.scores, np.log(self.above))) if len(self.scores) else np.ones(len(scores))


NO_BODY = Body(np.empty(0, np.float32), np.empty(0))


def body_of(sample: Scores) -> Body:
    """The body of a random sample (m,)."""
    scores, counts = np.unique(sample, return_counts=True)
    return Body(scores, np.cumsum(counts[::-1])[::-1] / len(sample))


@dataclass(frozen=True, slots=True)
class Tail:
    """The share of random chunks above a score: the logarithm `known` of that of `scores`, ascending and each once, and
    beyond the last of them a law of a `scale` and a `shape`."""

    scores: Scores
    known: Shares
    scale: float
    shape: float = SHAPE

    def shares(self, scores: Scores | Shares) -> Shares:
        """How many of all random chunks score at least as high: (n,), between 0 and 1."""
        edge = float(self.scores[-1])
        least = scores.astype(np.float64) - _rounding(edge)
        least[scores >= self.scores[0]] = np.maximum(least[scores >= self.scores[0]], self.scores[0])
        beyond = np.maximum(least - edge, 0.0)
        known = np.interp(least, self.scores, self.known, left=0.0)
        if self.scale > 0.0:
            known -= np.log1p(self.shape * beyond / self.scale) / self.shape
        else:
            known[beyond > 0.0] = -math.inf
        return np.maximum(np.exp(known), SMALLEST)


def tail_of(top: Scores, body: Body, chunks: int, *, step: float = 0.0) -> Tail:
    """The tail of the TOP scores of so many chunks, best first, or of fewer where no other chunk scores at all: (m,).

    `step` is the least scale, as a share of the score at the edge.
    """
    if not len(top):
        return Tail(np.zeros(1, np.float32), np.zeros(1), 0.0)
    # Of words that are in chunks which have no vector here yet, there may be more.
    chunks = max(chunks, len(top))
    edge = EDGE if len(top) > NEAR else 0
    scores, first = np.unique(top[edge:][::-1], return_index=True)
    above = (len(top) - first - ANSWERS) / chunks
    if tied(top):
        above[0] = max(above[0], body.at(float(scores[0])))
    below = body.scores < scores[0]
    known = np.log(np.concatenate([body.above[below], above]))
    rising = np.maximum.accumulate(known[::-1])[::-1]
    best = float(top[edge])
    scale = max(_scale(top, chunks), step * best, LEAST_SCALE * body.fall(best, float(above[-1])))
    return Tail(np.concatenate([body.scores[below], scores]), rising, scale)


def sampled_tail(sample: Scores) -> Tail:
    """The tail of a random sample (m,), LEAST scores at least, whose best may be an answer: for evidence."""
    ascending = np.sort(sample).astype(np.float64)
    beyond = max(round(HIGHEST * len(ascending)), FEWEST)
    # Of the best no more is taken than that it lies beyond the second.
    excess = np.minimum(ascending[-beyond:], ascending[-2]) - ascending[-beyond - 1]
    body = body_of(sample)
    known = body.scores <= ascending[-2]
    return Tail(body.scores[known], np.log(body.above[known]), float(excess.sum()) / (beyond - 1), EVIDENCE_SHAPE)


def agreeing(body: Body, top: Scores, chunks: int) -> Body:
    """The body to such a power that it meets the TOP scores (m,), best first, in the least of them."""
    there = body.at(float(top[-1])) if len(top) else 0.0
    if not 0.0 < there < 1.0:
        return body
    power = math.log((len(top) - ANSWERS) / max(chunks, len(top))) / math.log(there)
    return Body(body.scores, body.above ** (min(power, 1.0) if tied(top) else power))


def tied(top: Scores) -> bool:
    """Whether more chunks may score as the last of the best does."""
    return len(top) > 1 and bool(top[-2] - top[-1] <= _rounding(float(top[-1])))


def _scale(top: Scores, chunks: int) -> float:
    """How much less the scores just below the edge are than it, on the scale of its law; 0 where they are too few."""
    if len(top) <= NEAR:
        return 0.0
    scale, far = _excess(top, EDGE, NEAR), min(FAR, len(top) - 1, chunks // 2)
    if far < 2 * MIDDLE:
        return scale
    outer, inner = _excess(top, EDGE, MIDDLE), _excess(top, MIDDLE, far)
    return scale * (outer / inner) ** BEND if inner > 0.0 else scale


def _excess(top: Scores, first: int, last: int) -> float:
    """The mean excess over the last of these places, where those before the first are known to lie beyond it alone."""
    excess = top[first:last].astype(np.float64) - float(top[last])
    return float(excess.sum() + first * excess[0]) / (last - first)


def _rounding(score: float) -> float:
    return ROUNDING * max(abs(score), 1.0)


def counted(terms: Sequence[tuple[float, float]]) -> Body:
    """The body of a sum over terms: of each its weight, and the share of chunks that hold it."""
    step = sum(weight for weight, _ in terms) * PARTS[-1][0] / GRID
    if not step:
        return NO_BODY
    density = np.zeros(GRID + 1)
    density[0] = 1.0
    for weight, share in terms:
        with_it = density * (1.0 - share)
        for part, how_often in PARTS:
            ahead = round(weight * part / step)
            with_it[ahead:] += share * how_often * density[: GRID + 1 - ahead]
        density = with_it
    above = np.clip(np.cumsum(density[::-1])[::-1], SMALLEST, 1.0)
    return Body((np.arange(GRID + 1) * step).astype(np.float32), above)


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


def fused_tail(top: Scores, chunks: int) -> Tail:
    """The tail of the TOP evidences of so many chunks (m,), best first. The surprises of two parts that were
    independent would be as rare as `joint` says; how much they are not is read from the top."""
    grid = np.linspace(0.0, MOST_EVIDENCE, GRID)
    body = Body(grid.astype(np.float32), joint(grid))
    return replace(tail_of(top, agreeing(body, top, chunks), chunks), shape=FUSED_SHAPE)
