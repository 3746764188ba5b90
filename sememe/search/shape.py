"""What is to be made of the best: which of them are shown, in which order, and what beside them. Values and checks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sememe.errors import InputError

Context = int | Literal["section"]

DOCUMENT = "document"
"""What hits are grouped by where it is no field of the metadata."""

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Boost:
    """A term of the score: `weight` times ln(1 + |x|), with the sign of x, for a number x in a `field`."""

    field: str
    weight: float

    @property
    def name(self) -> str:
        """What the term is called."""
        return f"boost {self.field}"


@dataclass(frozen=True, slots=True)
class Recency:
    """A term of the score: `weight` for a date of now or later in a `field`, half of it for every `half_life` seconds
    that the date lies back. Without a weight it is a tenth of the greatest score there can be, and of evidence, which
    has no greatest, 1: to be of now is then worth as much as to be ten times as rare by chance.
    """

    field: str
    half_life: float
    weight: float | None = None

    @property
    def name(self) -> str:
        """What the term is called."""
        return f"recency {self.field}"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is made of the best, in this order.

    `boosts` are added to the scores of the best 1,000. Hits below the `threshold` go; with `dedupe` those that say
    nearly what a better one says go too; `group_by` "document", or a field of the metadata, keeps the `per_group` best
    of each group. `mmr` from 0 to 1 orders by maximal marginal relevance: 1 is by score alone, less of it puts hits
    first that differ from those before them. `after` is `Hits.next` of the page before, `page` counts from 1 as of
    now. `context` adds the text of so many chunks on each side of a hit, or of its "section"; `facets` counts the
    values of fields.
    """

    boosts: tuple[Boost | Recency, ...] = ()
    threshold: float | None = None
    dedupe: bool = False
    group_by: str = ""
    per_group: int = 1
    mmr: float | None = None
    after: str = ""
    page: int = 1
    context: Context = 0
    facets: tuple[str, ...] = ()


MOST_CONTEXT = 999_999_999
"""Chunks on a side of a hit: more than any document has."""

MOST_WEIGHT = 1e6
"""Of a boost: more would leave nothing of the scores."""


def refuse_shape(shape: Shape) -> None:
    """Raise InputError naming what is wrong with a shape."""
    if shape.mmr is not None and not (_is_number(shape.mmr) and 0 <= shape.mmr <= 1):
        raise InputError(f"mmr is {shape.mmr!r}; give a number from 0 to 1 (1 is by score alone)")
    if shape.threshold is not None and not _is_number(shape.threshold):
        raise InputError(f"the threshold is {shape.threshold!r}; give a number")
    for name, count in (("number of hits of a group", shape.per_group), ("page", shape.page)):
        if not _is_count(count) or count < 1:
            raise InputError(f"the {name} is {count!r}; give a whole number from 1 on")
    if shape.page > 1 and shape.after:
        raise InputError(f"page {shape.page} was asked for, and the page after a cursor; leave one of them out")
    if shape.context != "section" and (not _is_count(shape.context) or shape.context < 0):
        raise InputError(f"the context is {shape.context!r}; give a number of chunks, or 'section'")
    if shape.context != "section" and shape.context > MOST_CONTEXT:
        raise InputError(f"the context is {shape.context:,} chunks; give at most {MOST_CONTEXT:,}, or 'section'")
    for boost in shape.boosts:
        _refuse_boost(boost)


def _refuse_boost(boost: Boost | Recency) -> None:
    weight = boost.weight
    if not _is_number(weight) and not (isinstance(boost, Recency) and weight is None):
        raise InputError(f"the weight of {boost.field!r} is {weight!r}; give a number")
    if weight is not None and abs(weight) > MOST_WEIGHT:
        raise InputError(f"the weight of {boost.field!r} is {weight!r}; give one of at most {MOST_WEIGHT:,.0f}")
    if isinstance(boost, Recency) and not (_is_number(boost.half_life) and boost.half_life > 0):
        raise InputError(f"the half-life of {boost.field!r} is {boost.half_life!r}; give seconds above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
