"""onnxruntime as an engine, for machines that OpenVINO has no wheel for (extra `onnx`).

Runs the same graph, built from the same description of the model out of ONNX's operations. Arithmetic is f32.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sememe.errors import ModelError
from sememe.models import graph
from sememe.models.batching import NOTHING, Told, batches, padded
from sememe.models.cards import Card
from sememe.models.onnx_ops import OnnxModel, OnnxOps
from sememe.settings import Settings, cores
from sememe.types import Ids, Vectors


class OnnxEngine:
    """A session of onnxruntime. `keeps` holds the arrays that the session reads where they lie."""

    precision = "f32"

    def __init__(self, session: Any, keeps: object) -> None:
        self._session = session
        self._keeps = keeps
        self._inputs = {port.name for port in session.get_inputs()}
        self._lock = threading.Lock()

    def run(self, ids: Sequence[list[int]], batch_tokens: int, told: Told = NOTHING) -> Iterator[tuple[Ids, Vectors]]:
        """As every engine: longest first, every position once."""
        with self._lock:
            wanted = {name: numbers for name, numbers in told.items() if name in self._inputs}
            for rows in batches([len(row) for row in ids], batch_tokens):
                (vectors,) = self._session.run(["embedding"], padded(ids, rows, wanted))
                yield rows, vectors


def load(card: Card, files: Mapping[str, Path], *, settings: Settings) -> OnnxEngine:
    """A session for the card's graph. Raises ModelError when the files do not fit the card."""
    if card.runs == "file":
        raise ModelError(
            f"{card.name} is an exported graph, which OpenVINO runs; with onnxruntime give its weights "
            "as model.safetensors"
        )
    return OnnxEngine(*session_of(card, graph.build(OnnxOps(), card, files), settings))


def session_of(card: Card, model: OnnxModel, settings: Settings) -> tuple[Any, object]:
    """A session of a graph, and what must live as long as it does. Raises ModelError when it cannot be run."""
    import onnxruntime

    if settings.precision not in ("auto", "f32"):
        raise ModelError(
            f"precision {settings.precision} was asked for, but onnxruntime computes in f32 here; use f32 or auto"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores(settings.threads)
    options.log_severity_level = 3
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in model.arrays.items()}
    options.add_external_initializers(list(values), list(values.values()))
    try:
        session = onnxruntime.InferenceSession(model.graph, options, providers=["CPUExecutionProvider"])
    except RuntimeError as error:
        raise ModelError(f"{card.name} cannot be run by onnxruntime: {str(error).splitlines()[0]}") from error
    return session, values
