"""Models tried: how fast, how well they find, how they rate pairs of words, and what they make of an analogy.

Functions over anything that encodes texts; each returns a frozen value. Nothing here fetches or prints.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sememe.errors import InputError
from sememe.types import Vectors
from sememe.vectors import normalise


class Encodes(Protocol):
    """What a trial needs of a model."""

    def encode(self, texts: list[str]) -> Vectors:
        """Vectors of texts without a role."""

    def encode_query(self, texts: list[str]) -> Vectors:
        """Vectors of queries."""

    def encode_document(self, texts: list[str]) -> Vectors:
        """Vectors of documents."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds until the first vector, then what a second brings: single lines, and texts of some 200 words."""

    first: float
    lines: float
    chunks: float


@dataclass(frozen=True, slots=True)
class Found:
    """How well a model finds the document of each query among all documents: shares of 1, and seconds a text."""

    queries: int
    first: float
    in_ten: float
    reciprocal_rank: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two vectors by three measures."""

    cosine: float
    dot: float
    euclidean: float


CANCELLED = 1e-3
"""The length of a sum of words, of unit length each, that is the noise of a batch and no direction."""

LINE = "How do I reset a password that I have forgotten, number {}?"
PARAGRAPH = "The engineers replaced the valve, wrote down the pressure of pump {}, and went on to the next one. " * 11


def speed(model: Encodes, *, lines: int = 400, chunks: int = 40) -> Speed:
    """Texts a second, the first call aside."""
    started = time.perf_counter()
    model.encode(["first"])
    first = time.perf_counter() - started
    rates = []
    for template, count in ((LINE, lines), (PARAGRAPH, chunks)):
        texts = [template.replace("{}", str(i)) for i in range(count)]
        model.encode(texts[:4])
        started = time.perf_counter()
        model.encode(texts)
        rates.append(count / (time.perf_counter() - started))
    return Speed(first, *rates)


def find(model: Encodes, queries: Sequence[str], documents: Sequence[str], *, wanted: Sequence[int]) -> Found:
    """Rank all documents for each query; `wanted[i]` is the place of query i's document. Equal scores count against."""
    started = time.perf_counter()
    asked, stored = model.encode_query(list(queries)), model.encode_document(list(documents))
    seconds = (time.perf_counter() - started) / (len(queries) + len(documents))
    scores = normalise(asked) @ normalise(stored).T
    own = scores[np.arange(len(queries)), np.asarray(wanted)]
    ranks = (scores >= own[:, None]).sum(1)
    return Found(
        len(queries), float((ranks == 1).mean()), float((ranks <= 10).mean()), float((1 / ranks).mean()), seconds
    )


def likeness(a: Vectors, b: Vectors) -> Likeness:
    """Cosine, dot product and Euclidean distance of two vectors (dim,)."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return Likeness(float(x @ y) / lengths if lengths else 0.0, float(x @ y), float(np.linalg.norm(x - y)))


def analogy(
    model: Encodes, terms: Sequence[tuple[int, str]], words: Sequence[str], *, k: int
) -> list[tuple[str, float]]:
    """The k words nearest to a sum of words, those in the sum left out (Mikolov et al. 2013, arXiv:1301.3781).

    `terms` are pairs of +1 or -1 and a word. Raises InputError when they cancel out, and when fewer than one word is
    left to choose from.
    """
    used = {word.lower() for _, word in terms}
    left = [word for word in dict.fromkeys(words) if word.lower() not in used]
    if not left:
        raise InputError("no word is left to answer the analogy with; give more with --words FILE, one on a line")
    vectors = normalise(model.encode([word for _, word in terms]))
    target: Vectors = np.array([[sign for sign, _ in terms]], dtype=np.float32) @ vectors
    if np.linalg.norm(target) < CANCELLED:
        said = " ".join(f"{'-' if sign < 0 else '+'} {word}" for sign, word in terms).removeprefix("+ ")
        raise InputError(f"{said!r} cancels out and points nowhere; write: king - man + woman")
    scores: Vectors = normalise(model.encode(left)) @ normalise(target)[0]
    order = np.argsort(-scores, kind="stable")[:k]
    return [(left[i], float(scores[i])) for i in order]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rho; equal values share the mean of their ranks."""
    x, y = (ranks - ranks.mean() for ranks in (_ranks(np.asarray(a)), _ranks(np.asarray(b))))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread else 0.0


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: npt.NDArray[np.float64] = (last - counts + 1 + last) / 2.0
    return means[inverse]
