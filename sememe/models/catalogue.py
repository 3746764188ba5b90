"""What is known of well-known models without their files: dimensions, limits, prompts, licence, languages.

The figures are data, in `catalogue.json`: hub name → what its authors say of it. A model in the catalogue is fetched
from the hub and read like any folder; the catalogue adds what many of those folders do not say, the prompts above all.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

NON_COMMERCIAL = "its licence, {}, forbids commercial use"


@dataclass(frozen=True, slots=True)
class Profile:
    """A model of the catalogue. `millions` are its parameters; `runs` is "graph" or the extra it needs."""

    name: str
    dim: int
    max_tokens: int
    licence: str
    languages: tuple[str, ...]
    millions: int
    prompts: Mapping[str, str]
    remarks: tuple[str, ...]
    runs: str
    matryoshka: tuple[int, ...] = ()


@functools.cache
def profiles() -> Mapping[str, Profile]:
    """Every model of the catalogue by its hub name."""
    raw = json.loads(files("sememe.models").joinpath("catalogue.json").read_text(encoding="utf-8"))
    prompts: dict[str, dict[str, str]] = raw["prompts"]
    return {name: _profile(name, entry, prompts) for name, entry in raw["models"].items()}


def profile_of(name: str) -> Profile | None:
    """The profile of a model by its hub name or the part after the owner, in any case; None when it is not known."""
    wanted = name.strip().lower()
    for known, profile in profiles().items():
        if wanted in (known.lower(), known.lower().rsplit("/", 1)[-1]):
            return profile
    return None


def _profile(name: str, entry: Mapping[str, Any], prompts: Mapping[str, Mapping[str, str]]) -> Profile:
    licence: str = entry["licence"]
    remarks = list(entry.get("remarks", ()))
    if "-NC" in licence:
        remarks.insert(0, NON_COMMERCIAL.format(licence))
    return Profile(
        name=name, dim=entry["dim"], max_tokens=entry["max_tokens"], licence=licence,
        languages=tuple(entry["languages"].split()), millions=entry["millions"],
        prompts=prompts[entry["prompts"]] if "prompts" in entry else {}, remarks=tuple(remarks),
        runs=entry.get("runs", "graph"), matryoshka=tuple(entry.get("matryoshka", ())),
    )  # fmt: skip
