"""How good one ranking is, in the measures of trec_eval: names such as "ndcg@10" become functions.

A ranking is a sequence of ids, best first, each once; judgements are grades by id, and a grade of 1 or more is
relevant. The values are those of trec_eval 9 (linear gains; what nobody judged is not relevant).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sememe.errors import InputError, one_of

Grades = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Measure:
    """One of NAMES over the first `cutoff` hits; over all of them where it is None."""

    name: str
    cutoff: int | None = None

    def __str__(self) -> str:
        return self.name if self.cutoff is None else f"{self.name}@{self.cutoff}"

    def of(self, ranking: Sequence[str], grades: Grades) -> float:
        """The value for one query, from 0 to 1; 0 when nothing is relevant."""
        found = [grades.get(one, 0) for one in ranking[: self.cutoff]]
        best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
        return NAMES[self.name](_Judged(found, best, self.cutoff))


def measure(text: str) -> Measure:
    """Read "ndcg@10". Raises InputError for a name that is not known and a cutoff below 1."""
    name, at, cutoff = text.strip().lower().partition("@")
    if name not in NAMES:
        raise InputError(f"the metric is {text!r}; {one_of(name, NAMES)}, with a cutoff as in ndcg@10")
    if at and not (cutoff.isascii() and cutoff.isdecimal() and int(cutoff) > 0):
        raise InputError(f"the cutoff of {text!r} is {cutoff!r}; give a whole number from 1, as in {name}@10")
    return Measure(name, int(cutoff) if at else None)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A ranking's grades in its order, the grades of all that is relevant in the best order, and how far one looks."""

    found: Sequence[int]
    best: Sequence[int]
    cutoff: int | None

    @property
    def ranks(self) -> list[int]:
        """Those of what is relevant, from 1."""
        return [rank for rank, grade in enumerate(self.found, start=1) if grade > 0]


def _ndcg(judged: _Judged) -> float:
    """Discounted cumulative gain, of that of the best possible order (Järvelin and Kekäläinen 2002); gains linear."""
    best = _gain(judged.best[: judged.cutoff])
    return _gain(judged.found) / best if best else 0.0


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1) if grade > 0)


def _recall(judged: _Judged) -> float:
    return len(judged.ranks) / max(len(judged.best), 1)


def _precision(judged: _Judged) -> float:
    return len(judged.ranks) / max(judged.cutoff or len(judged.found), 1)


def _mrr(judged: _Judged) -> float:
    return next((1 / rank for rank in judged.ranks), 0.0)


def _map(judged: _Judged) -> float:
    return sum(found / rank for found, rank in enumerate(judged.ranks, start=1)) / max(len(judged.best), 1)


def _success(judged: _Judged) -> float:
    return float(bool(judged.ranks))


NAMES: dict[str, Callable[[_Judged], float]] = {
    "ndcg": _ndcg, "recall": _recall, "mrr": _mrr, "map": _map, "success": _success, "precision": _precision,
}  # fmt: skip
