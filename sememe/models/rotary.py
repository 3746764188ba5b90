"""Rotary positions, and the ways in which models stretch them over longer texts than they were trained on.

Each kind of scaling is a function from the angle's base, the dimensions that turn and what the configuration says
more, to the frequencies themselves. This file knows numbers and the names in configurations; it knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sememe.errors import ModelError
from sememe.types import Vectors

Frequencies = npt.NDArray[np.float64]


def require(condition: object, message: str) -> None:
    """Raise ModelError with the message unless the condition holds."""
    if not condition:
        raise ModelError(message)


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864): the first `dims` of a head turn, halves paired.

    Pair i turns by `frequencies[i]` radians from one token to the next; what has turned is `magnitude` as long.
    """

    frequencies: tuple[float, ...]
    magnitude: float = 1.0

    @property
    def dims(self) -> int:
        """How many dimensions of a head turn."""
        return 2 * len(self.frequencies)

    def tables(self, positions: int) -> tuple[Vectors, Vectors]:
        """Cosines and sines of every position: (positions, dims) float32 each."""
        # In float32 as the reference has it: its rounding of the angle is part of what a model was trained with.
        angles = np.outer(np.arange(positions, dtype=np.float32), np.array(self.frequencies, dtype=np.float32))
        both, scale = np.concatenate([angles, angles], axis=1), np.float32(self.magnitude)
        return np.cos(both) * scale, np.sin(both) * scale


class Settings(Protocol):
    """What a configuration says of a scaling; raises ModelError for what is no number."""

    def number(self, *names: str, default: float | None = None) -> float:
        """The first of the names that it has, else the default."""

    def flag(self, name: str, default: bool = False) -> bool:
        """Whether a setting is on."""


def _plain(theta: float, dims: int) -> Frequencies:
    require(theta > 0, f"rope_theta is {theta}; it must be above 0")
    require(dims > 0 and dims % 2 == 0, f"rotary positions turn {dims} dimensions; expected pairs")
    powers: Frequencies = theta ** (-np.arange(0, dims, 2, dtype=np.float64) / dims)
    return powers


def _rope(frequencies: Frequencies, magnitude: float = 1.0) -> Rope:
    require(
        np.isfinite(frequencies).all() and math.isfinite(magnitude),
        "the scaling of rotary positions gives frequencies that are not finite; check rope_scaling",
    )
    return Rope(tuple(frequencies.tolist()), magnitude)


def _factor(said: Settings) -> float:
    factor = said.number("factor")
    require(factor > 0, f"the scaling of rotary positions is {factor}; it must be above 0")
    return factor


def _default(theta: float, dims: int, said: Settings) -> Rope:
    del said
    return _rope(_plain(theta, dims))


def _linear(theta: float, dims: int, said: Settings) -> Rope:
    """Positions closer together, by one factor."""
    return _rope(_plain(theta, dims) / _factor(said))


def _ntk(theta: float, dims: int, said: Settings) -> Rope:
    """NTK with a fixed factor, as the models of GTE scale: https://kexue.fm/archives/9706."""
    factor = _factor(said)
    return _rope(_plain(theta * factor, dims) / factor ** (2 / dims))


def _llama3(theta: float, dims: int, said: Settings) -> Rope:
    """As Llama 3.1: slow turns are slowed by the factor, quick ones left, those between shared out."""
    low, high = said.number("low_freq_factor"), said.number("high_freq_factor")
    require(0 < low < high, f"low_freq_factor is {low} and high_freq_factor {high}; expected the lower one first")
    plain = _plain(theta, dims)
    turns = said.number("original_max_position_embeddings") * plain / (2 * math.pi)
    share = np.clip((turns - low) / (high - low), 0, 1)
    return _rope(plain * (share + (1 - share) / _factor(said)))


def _yarn(theta: float, dims: int, said: Settings) -> Rope:
    """YaRN (Peng et al. 2023, arXiv:2309.00071): as `_llama3`, shared out by pair, and turned states made longer."""
    trained, factor = said.number("original_max_position_embeddings"), _factor(said)
    require(trained > 0, f"original_max_position_embeddings is {trained}; it must be above 0")
    ends = (said.number("beta_fast", default=32.0), said.number("beta_slow", default=1.0))
    require(min(ends) > 0 and theta != 1, f"beta_fast and beta_slow are {ends}, rope_theta {theta}; YaRN has no such")
    plain = _plain(theta, dims)
    first, last = (dims * math.log(trained / (beta * 2 * math.pi)) / (2 * math.log(theta)) for beta in ends)
    if said.flag("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dims - 1)
    slowed = np.clip((np.arange(dims // 2) - first) / ((last - first) or 0.001), 0, 1)
    return _rope(plain * (1 - slowed + slowed / factor), _length(factor, said))


def _length(factor: float, said: Settings) -> float:
    """YaRN's temperature of attention, put into the states that turn."""

    def told(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    weights = said.number("mscale", default=0.0), said.number("mscale_all_dim", default=0.0)
    usual = told(weights[0]) / told(weights[1]) if all(weights) else told(1.0)
    return said.number("attention_factor", default=usual)


SCALINGS: Mapping[str, Callable[[float, int, Settings], Rope]] = {
    "default": _default,
    "linear": _linear,
    "ntk": _ntk,
    # It stretches beyond max_position_embeddings only, which no text that is read here passes.
    "dynamic": _default,
    "yarn": _yarn,
    "llama3": _llama3,
}
"""Every `rope_type` that is followed."""
