"""What runs a card's model on this machine: lists of token ids in, vectors out.

This file chooses. It knows which engines there are and what each needs; how they compute is theirs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sememe.errors import MissingExtra
from sememe.models.batching import NOTHING, Told
from sememe.models.cards import Card
from sememe.settings import Settings
from sememe.types import Ids, Vectors


class Engine(Protocol):
    """A loaded model. One call at a time; threads wait for each other."""

    @property
    def precision(self) -> str:
        """What the arithmetic runs in: "f32", "bf16" or "int8"."""

    def run(self, ids: Sequence[list[int]], batch_tokens: int, told: Told = NOTHING) -> Iterator[tuple[Ids, Vectors]]:
        """Pairs of (positions in `ids`, what the model gives for them), in any order, every position once.

        That is (b, dim) vectors, or (b, longest, dim) where every token has its own.
        """


def load(card: Card, files: Mapping[str, Path], *, settings: Settings) -> Engine:
    """The engine for a card: what its `runs` says; for a graph OpenVINO, or onnxruntime where there is none.

    Raises ModelError when the files do not fit the card, and MissingExtra when a library is missing.
    """
    if card.runs == "static":
        from sememe.models import static

        return static.load(card, files)
    if card.runs == "torch":
        from sememe.models import torch_engine

        return torch_engine.load(card, files)
    if runs_openvino(card, settings):
        from sememe.models import compiled

        return compiled.load(card, files, settings=settings)
    from sememe.models import onnx_engine

    return onnx_engine.load(card, files, settings=settings)


def runs_openvino(card: Card, settings: Settings) -> bool:
    """Whether OpenVINO runs graphs here, else onnxruntime does. Raises MissingExtra when neither can."""
    installed = importlib.util.find_spec("openvino") is not None
    if settings.engine == "openvino" or (settings.engine == "auto" and installed):
        if not installed:
            raise MissingExtra("onnx", f"{card.name} without openvino, which has no wheel for this machine,")
        return True
    if not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")):
        raise MissingExtra("onnx", f"running {card.name} with onnxruntime")
    return False
