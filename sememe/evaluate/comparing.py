"""Which of two runs is better, by how much, how surely, and because of which queries.

Queries are compared in pairs: what one finds hard the other mostly finds hard too, so the differences vary less than
the values do, and far fewer queries tell the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sememe.errors import InputError
from sememe.evaluate.metrics import Measure
from sememe.evaluate.running import Asked, Run

RESAMPLES = 10_000
BLOCK = 500
LEAST_QUERIES = 30
"""Below it an interval by resampling is narrower than it should be."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f})"

    @property
    def signed(self) -> str:
        """The same of a difference."""
        return f"{self.mean:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


@dataclass(frozen=True, slots=True)
class Pair:
    """One query in both runs; `difference` is the second's value less the first's."""

    key: str
    one: Asked
    other: Asked
    difference: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs by one measure. `pairs` are all common queries, the second run's greatest gain first."""

    measure: str
    one: Interval
    other: Interval
    difference: Interval
    pairs: tuple[Pair, ...]
    remarks: tuple[str, ...] = ()

    @property
    def wins(self) -> list[Pair]:
        """Queries on which the second run is better, the greatest gain first."""
        return [pair for pair in self.pairs if pair.difference > 0]

    @property
    def losses(self) -> list[Pair]:
        """Queries on which it is worse, the greatest loss first."""
        return [pair for pair in reversed(self.pairs) if pair.difference < 0]


def bootstrap(values: npt.NDArray[np.float64]) -> Interval:
    """The mean of values (n,) and its 95 % interval: values drawn with replacement 10,000 times (Efron 1979)."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=(BLOCK, len(values)))].mean(1) for _ in range(RESAMPLES // BLOCK)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def summary(run: Run, measure: Measure) -> Interval:
    """The mean of a measure over the queries of a run."""
    return bootstrap(np.array(list(run.values(measure).values())))


def compare(one: Run, other: Run, measure: Measure) -> Comparison:
    """Compare two runs on the queries that both have. Raises InputError when there are none, or they look elsewhere."""
    if one.unit != other.unit:
        raise InputError(
            f"{one.setting} was judged by {one.unit}s and {other.setting} by {other.unit}s; judge both alike"
        )
    first, second = one.values(measure), other.values(measure)
    common = [key for key in first if key in second]
    if not common:
        raise InputError(f"the runs on {one.dataset} and {other.dataset} have no query in common; run both on one set")
    a, b = (np.array([values[key] for key in common]) for values in (first, second))
    pairs = [
        Pair(key, one.asked[key], other.asked[key], float(gap))
        for key, gap in zip(common, (b - a).tolist(), strict=True)
    ]
    pairs.sort(key=lambda pair: (-pair.difference, pair.key))
    return Comparison(
        str(measure), bootstrap(a), bootstrap(b), bootstrap(b - a), tuple(pairs), _remarks(one, other, len(common))
    )  # fmt: skip


def _remarks(one: Run, other: Run, common: int) -> tuple[str, ...]:
    remarks = list(dict.fromkeys((*one.remarks, *other.remarks)))
    alone = len(one.asked) + len(other.asked) - 2 * common
    if alone:
        remarks.append(f"{alone:,} queries are in one run only and left out")
    differing = sum(
        dict(asked.grades) != dict(other.asked[key].grades) for key, asked in one.asked.items() if key in other.asked
    )
    if differing:
        remarks.append(f"{differing:,} queries are judged differently in the two runs")
    return (*remarks, *few(common))


def few(queries: int) -> tuple[str, ...]:
    """A remark where the queries are too few to trust an interval."""
    return (f"{queries:,} queries are few: take the intervals for narrower than they are",) * (queries < LEAST_QUERIES)


def refuse_gate(least: float | None, against: Run | None, tolerance: float) -> None:
    """Raise InputError when there is nothing to pass, or what no run could pass, or every one would."""
    if least is None and against is None:
        raise InputError(
            "there is nothing to pass: give a least value (--min 0.4), a run to compare with (--against), or both"
        )
    for name, value in (("least value", 0.0 if least is None else least), ("tolerance", tolerance)):
        if not 0 <= value <= 1:
            raise InputError(f"the {name} is {value:g}, and every measure lies from 0 to 1; give a number between them")


def falls_short(run: Run, measure: Measure, *, least: float | None, against: Run | None, tolerance: float) -> str:
    """Why a run does not pass: empty when it does.

    It passes with a mean of at least `least`, and one that is no more than `tolerance` below that of `against`, on the
    queries that both have. Raises InputError as `refuse_gate` does.
    """
    refuse_gate(least, against, tolerance)
    mean = summary(run, measure).mean
    reasons = []
    if least is not None and mean < least:
        reasons.append(f"{measure} is {mean:.4f}, and at least {least:g} was wanted")
    if against is not None:
        found = compare(against, run, measure)
        if found.difference.mean < -tolerance:
            reasons.append(
                f"{measure} is {found.other.mean:.4f}, which is {-found.difference.mean:.4f} below the "
                f"{found.one.mean:.4f} of {against.setting}; {tolerance:g} was allowed"
            )
    return "; ".join(reasons)
