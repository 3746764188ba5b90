"""The parts that a query may have beside its text: texts with weights, what is stored, spans of it, and vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sememe.errors import InputError
from sememe.types import Vectors

LIKED, UNLIKED = 0.75, 0.15
"""Weights of the mean of what is liked and of what is not, beside 1 for the query (Rocchio, after Manning, Raghavan and
Schütze, Introduction to Information Retrieval, section 9.1.1)."""

_SPAN = re.compile(r"(?P<name>.+):(?P<start>\d{1,15})-(?P<end>\d{1,15})", re.DOTALL)
_WEIGHTED = re.compile(r"\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s+(?P<text>\S.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stored:
    """A document by its key (the mean of its chunks), a chunk by its id, "chunk:12", or with a `span` the characters
    [start, end) of its text, which are embedded as a document is."""

    name: str
    span: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Stored:
        """As it is typed: ID, or ID:START-END."""
        found = _SPAN.fullmatch(text)
        return cls(text) if found is None else cls(found["name"], (int(found["start"]), int(found["end"])))

    def __str__(self) -> str:
        return self.name if self.span is None else f"{self.name}:{self.span[0]}-{self.span[1]}"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A text, what is stored or a vector (dim,), and its weight; below 0 the search leads away from it."""

    what: str | Stored | Vectors
    weight: float = 1.0

    @property
    def is_text(self) -> bool:
        """Whether it has to be embedded: a text, or a span of one."""
        return isinstance(self.what, str) or (isinstance(self.what, Stored) and self.what.span is not None)

    @classmethod
    def parse(cls, text: str) -> Part:
        """A text as it is typed, its weight before it, which is 1 unless one is said: "-0.7 leather"."""
        found = _WEIGHTED.fullmatch(text)
        return cls(text) if found is None else cls(found["text"], float(found["weight"]))

    def __str__(self) -> str:
        return repr(self.what) if isinstance(self.what, str) else _name_of(self.what)


def _name_of(what: Stored | Vectors) -> str:
    return str(what) if isinstance(what, Stored) else "a vector"


def feedback(*, like: Sequence[str] = (), unlike: Sequence[str] = ()) -> tuple[Part, ...]:
    """Parts that draw a query to the mean of what is liked and away from that of what is not (Rocchio 1971), by keys or
    ids as of `Stored`."""
    return (
        *(Part(Stored(name), LIKED / len(like)) for name in like),
        *(Part(Stored(name), -UNLIKED / len(unlike)) for name in unlike),
    )


@dataclass(frozen=True, slots=True)
class Combine:
    """A step of a plan: one vector of all parts, (weight, name) each; `inputs` are the strings embedded for them."""

    parts: tuple[tuple[float, str], ...]
    inputs: tuple[str, ...]

    @property
    def sum(self) -> str:
        """The parts as a sum."""
        return said(self.parts)

    def __str__(self) -> str:
        return "\n".join([*(f"embed    {text!r}" for text in self.inputs), f"combine  {self.sum}"])


@dataclass(frozen=True, slots=True)
class Sought:
    """What the parts of a query came to beside its vector: the step that says so, and what should be said aloud."""

    step: Combine
    notes: tuple[str, ...]


def refuse_parts(parts: Iterable[Part]) -> None:
    """Raise InputError naming what is wrong with a part."""
    for part in parts:
        number = isinstance(part.weight, int | float) and not isinstance(part.weight, bool)
        if not number or not math.isfinite(part.weight):
            raise InputError(f"the weight of {part} is {part.weight!r}; give a number")
        if isinstance(part.what, str) and not part.what.strip():
            raise InputError("a part of the query is empty; say what you are looking for")


def said(parts: Sequence[tuple[float, str]]) -> str:
    """The parts, (weight, name) each, as a sum."""
    signed = "".join(f" {'-' if weight < 0 else '+'} {abs(weight):g} x {name}" for weight, name in parts)
    return signed.removeprefix(" + ").lstrip()
