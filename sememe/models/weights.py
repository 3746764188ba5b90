"""The tensors of a model, read from safetensors as float32 and checked as they are read.

Knows names, shapes, number formats and the layouts of families. Knows nothing of graphs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sememe.errors import ModelError
from sememe.models.layouts import Layout
from sememe.types import Ids, Vectors

_SLICE = re.compile(r"(.*)\[(\d)/(\d)\]")
_FLOATS = ("F64", "F32", "F16", "BF16")
_OLD_NAMES = {"weight": "gamma", "bias": "beta"}
"""What checkpoints from the days of TensorFlow call the two vectors of a norm."""


class Tensors:
    """All tensors of one or several safetensors files, by name."""

    def __init__(self, files: Iterable[Path]) -> None:
        from safetensors import SafetensorError, safe_open

        self.files = list(files)
        self._sources: dict[str, tuple[Path, Any]] = {}
        for file in self.files:
            try:
                source: Any = safe_open(str(file), framework="np")
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{file} is not a readable safetensors file: {error}") from error
            self._sources |= dict.fromkeys(source.keys(), (file, source))

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def __iter__(self) -> Any:
        return iter(self._sources)

    def shape(self, name: str) -> tuple[int, ...]:
        """The lengths of a tensor's axes. Raises ModelError when it is missing."""
        if name not in self._sources:
            raise ModelError(f"{self._place()} has no tensor {name!r} that its configuration asks for")
        return tuple(self._sources[name][1].get_slice(name).get_shape())

    def get(self, name: str, *shape: int | None) -> Vectors:
        """A tensor as float32, of the shape that the configuration wants (None: any size).

        Raises ModelError when it is missing, of another shape, no floating-point numbers, or not all finite.
        """
        if name not in self._sources:
            raise ModelError(f"{self._place()} has no tensor {name!r} that its configuration asks for")
        file, source = self._sources[name]
        kind = source.get_slice(name).get_dtype()
        if kind not in _FLOATS:
            raise ModelError(f"{file}: {name!r} holds {kind}; supported: {', '.join(_FLOATS)}")
        array = _bfloat16(file, name) if kind == "BF16" else source.get_tensor(name)
        if len(shape) != array.ndim or any(s not in (None, a) for s, a in zip(shape, array.shape, strict=True)):
            raise ModelError(f"{file}: {name!r} has shape {array.shape}, the configuration says {shape}")
        result: Vectors = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(result).all():
            raise ModelError(f"{file}: {name!r} holds numbers that are not finite; the file is damaged: fetch it again")
        return result

    def integers(self, name: str) -> Ids:
        """A tensor of whole numbers as int64. Raises ModelError when it holds others."""
        file, source = self._sources[name]
        array = source.get_tensor(name)
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise ModelError(f"{file}: {name!r} holds {array.dtype} of shape {array.shape}; expected whole numbers")
        return np.asarray(array, dtype=np.int64)

    def _place(self) -> str:
        return " and ".join(str(file) for file in self.files)


def _bfloat16(file: Path, name: str) -> npt.NDArray[np.float32]:
    """NumPy has no such numbers: they are the upper halves of float32. The header was checked when it was opened."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        entry = json.loads(opened.read(length))[name]
        start, end = entry["data_offsets"]
        opened.seek(8 + length + start)
        halves = np.frombuffer(opened.read(end - start), dtype="<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


class Parts:
    """A model's tensors by the part of the transformer that they belong to, whatever its family calls them."""

    def __init__(self, tensors: Tensors, layout: Layout, prefixes: tuple[str, ...]) -> None:
        self._tensors = tensors
        self._layout = layout
        words = f"{layout['words']}.weight"
        # Without a match the first prefix is as good as any for the error that follows.
        self._prefix = next((prefix for prefix in prefixes if prefix + words in tensors), prefixes[0])

    def get(self, part: str, *shape: int | None, layer: int = 0, vector: str = "weight") -> Vectors:
        """A part's weight or bias, as `Tensors.get` gives it."""
        name = self._prefix + self._layout[part].format(layer)
        sliced = _SLICE.fullmatch(name)
        if sliced is None:
            full = f"{name}.{vector}"
            old = f"{name}.{_OLD_NAMES[vector]}"
            return self._tensors.get(old if full not in self._tensors and old in self._tensors else full, *shape)
        whole, index, of = sliced[1], int(sliced[2]), int(sliced[3])
        rows = shape[0] or 0
        fused = self._tensors.get(f"{whole}.{vector}", rows * of, *shape[1:])
        return np.ascontiguousarray(fused[rows * index : rows * (index + 1)])
