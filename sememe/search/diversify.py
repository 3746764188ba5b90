"""From the best to those that are shown: score terms, duplicates, groups, diversity. Pure functions over candidates.

A candidate is (number, score), best first, equal scores by ascending number. None of these functions looks at how many
hits were asked for, so more hits only extend fewer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sememe.filters import MISSING, instant, kind_of, reach, whole
from sememe.search.shape import Boost, Recency
from sememe.types import Metadata, Vectors

Best = list[tuple[int, float]]

NEAR = 0.98
"""The cosine from which one chunk says nearly what another says."""

BLOCK = 100
"""Candidates that maximal marginal relevance puts in order against each other at once."""


def elements(metadata: Metadata, path: str) -> Iterator[Any]:
    """The values of a field; of a list its elements."""
    for found in reach(metadata, path.split(".")):
        if found is not MISSING:
            yield from found if isinstance(found, list) else [found]


def given_by(boost: Boost | Recency, metadata: Metadata, now: float) -> float:
    """What a field gives to a term before its weight, the greatest of several values; 0 where there is none.

    `now` in seconds since 1970.
    """
    given = [
        value for found in elements(metadata, boost.field) if (value := _given(boost, found, now)) is not None
    ]  # fmt: skip
    return max(given, default=0.0)


def _given(boost: Boost | Recency, value: object, now: float) -> float | None:
    if isinstance(boost, Boost):
        number = isinstance(value, int | float) and kind_of(value) == "number" and math.isfinite(value)
        return math.copysign(math.log1p(abs(value)), value) if number else None  # type: ignore[arg-type]
    moment = instant(value) if isinstance(value, str) else None
    return None if moment is None else 0.5 ** (max(now - moment / 1e6, 0.0) / boost.half_life)


def boosted(best: Best, terms: Mapping[int, float]) -> Best:
    """The candidates with what their terms come to added to the score, in their new order."""
    return sorted(((n, score + terms[n]) for n, score in best), key=lambda pair: (-pair[1], pair[0]))


def value_of(metadata: Metadata, path: str) -> Hashable:
    """The value of a field as a key: None for a missing one, canonical JSON for a list or an object."""
    found = reach(metadata, path.split("."))
    value = found[0] if len(found) == 1 else found
    if value is MISSING:
        return None
    return (whole(value),) if isinstance(value, list | dict) else typed(value)


def typed(value: Hashable) -> tuple[str, Hashable]:
    """A value as a key: 1 is 1.0, and neither is true, as filters have it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return ("number" if number else type(value).__name__, value)


def distinct(best: Best, vectors: Mapping[int, Vectors]) -> Best:
    """The candidates whose vector is not nearly that of one before them.

    `vectors` are of unit length; a candidate without one stays.
    """
    kept: Best = []
    table = np.empty((len(best), len(next(iter(vectors.values()), ()))), np.float32)
    rows = 0
    for number, score in best:
        row = vectors.get(number)
        if row is not None:
            if rows and float((table[:rows] @ row).max()) >= NEAR:
                continue
            table[rows] = row
            rows += 1
        kept.append((number, score))
    return kept


def grouped(best: Best, keys: Mapping[int, Hashable], most: int) -> Best:
    """The `most` first of each group."""
    seen: Counter[Hashable] = Counter()
    kept: Best = []
    for number, score in best:
        seen[keys.get(number)] += 1
        if seen[keys.get(number)] <= most:
            kept.append((number, score))
    return kept


def mmr(best: Best, vectors: Mapping[int, Vectors], share: float, *, stretch: bool = False, chosen: int = 0) -> Best:
    """The candidates in the order of maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Next is always the one with the greatest `share` x score - (1 - `share`) x cosine to the nearest one before it;
    equal ones in the order they come. It is sought among the next BLOCK, block by block; the first `chosen` are in
    their order already. With `stretch` scores are taken as 0 to 1 from the lowest to the highest of the first block.
    `vectors` are of unit length; a candidate without one is near nothing.
    """
    if not best:
        return []
    nothing = np.zeros_like(next(iter(vectors.values()), np.zeros(1, np.float32)))
    table = np.stack([vectors.get(number, nothing) for number, _ in best])
    scores = np.array([score for _, score in best], np.float64)
    relevance = share * (_stretched(scores) if stretch else scores)
    order = list(range(chosen))
    while len(order) < len(best):
        block = range(len(order), min((len(order) // BLOCK + 1) * BLOCK, len(best)))
        order += _block_order(table, relevance, share, chosen=order, block=block)
    return [best[at] for at in order]


def _stretched(scores: np.ndarray) -> np.ndarray:
    low, high = scores[:BLOCK].min(), scores[:BLOCK].max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def _block_order(
    table: Vectors, relevance: np.ndarray, share: float, *, chosen: Sequence[int], block: range
) -> list[int]:
    rows = table[block.start : block.stop]
    nearest = (rows @ table[list(chosen)].T).max(axis=1) if chosen else np.zeros(len(block), np.float32)
    left = np.ones(len(block), bool)
    order: list[int] = []
    for _ in block:
        gain = relevance[block.start : block.stop] - (1.0 - share) * nearest
        at = int(np.argmax(np.where(left, gain, -np.inf)))
        left[at] = False
        closeness = rows @ rows[at]
        nearest = closeness if not chosen and not order else np.maximum(nearest, closeness)
        order.append(block.start + at)
    return order
