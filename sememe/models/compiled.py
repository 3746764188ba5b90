"""An encoder compiled by OpenVINO: lists of token ids in, vectors out, as fast as the CPU goes.

The graph is built from the weights once and kept beside OpenVINO's own cache of the compiled form under
`home/compiled`, named by everything that it depends on; a damaged or foreign entry is built again.
This file knows OpenVINO and batches; it knows nothing of texts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sememe.errors import ModelError
from sememe.models import exported, graph
from sememe.models.batching import NOTHING, Told, batches, padded, rounded
from sememe.models.cards import Card
from sememe.models.openvino_library import openvino
from sememe.models.openvino_ops import OpenVINOOps
from sememe.settings import Settings, cores
from sememe.types import Ids, Vectors

GRAPH_VERSION = 2
"""Raised when `graph.py` changes what it builds, so that old entries of the cache are left alone."""

LEAST_TOKENS = 64
"""A batch of fewer tokens costs more to start than it saves."""

MOST_TOKENS = 512
"""In f32 a batch of more is no faster a token, for MiniLM as for mpnet, and pads unequal lines by a tenth."""


class CompiledEncoder:
    """One compiled model and its queue of requests. One batch job at a time; threads wait for each other.

    For every shape of a batch OpenVINO makes code and buffers, in some 50 ms and half a megabyte, and keeps them. Of
    thousands of tokens at once the shapes are as many as the lengths; a process that embeds a few lines at a time meets
    others for hours, unless lengths and budgets are few.
    """

    def __init__(self, model: Any, *, max_tokens: int, precision: str) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self.precision = precision
        self._requests = model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 1
        self._lock = threading.Lock()
        self._single = model.create_infer_request()
        self._inputs = {port.any_name for port in model.inputs}
        self._queue: Any = None

    def run(self, ids: Sequence[list[int]], batch_tokens: int, told: Told = NOTHING) -> Iterator[tuple[Ids, Vectors]]:
        """As every engine: longest first, every position once."""
        with self._lock:
            if len(ids) == 1:
                width = rounded(len(ids[0]), self._max_tokens)
                self._single.infer(padded(ids, np.zeros(1, np.int64), self._wanted(told), width=width))
                yield np.zeros(1, np.int64), self._single.get_output_tensor(0).data.copy()
                return
            yield from self._run_queue(ids, batch_tokens, self._wanted(told))

    def _wanted(self, told: Told) -> Told:
        """What is told that this model takes."""
        return {name: numbers for name, numbers in told.items() if name in self._inputs}

    def _run_queue(self, ids: Sequence[list[int]], batch_tokens: int, told: Told) -> Iterator[tuple[Ids, Vectors]]:
        if self._queue is None:
            self._queue = openvino().AsyncInferQueue(self._model, self._requests)
        done: list[tuple[Ids, Vectors]] = []
        self._queue.set_callback(lambda request, rows: done.append((rows, request.get_output_tensor(0).data.copy())))
        try:
            widths = [len(i) for i in ids]
            # So few that they would be one batch are shared out, or every core but one would stand idle: by the next
            # power of two.
            share = max(LEAST_TOKENS, 1 << (sum(widths) // (2 * self._requests)).bit_length())
            if share < MOST_TOKENS:
                widths = [rounded(width, self._max_tokens) for width in widths]
            for rows in batches(widths, min(batch_tokens, MOST_TOKENS, share)):
                self._queue.start_async(padded(ids, rows, told, width=widths[rows[0]]), rows)
        finally:
            self._queue.wait_all()
        yield from done


def load(card: Card, files: Mapping[str, Path], *, settings: Settings) -> CompiledEncoder:
    """Compile the card's model for this CPU, from the cache when it is there.

    Raises ModelError when the precision is not to be had here or the weights do not fit the card.
    """
    ov = openvino()

    core = ov.Core()
    precision = precision_of(core, card, settings)
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hint_of(core, precision),
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": cores(settings.threads),
        "INFERENCE_NUM_THREADS": cores(settings.threads),
    }
    folder = settings.home / "compiled" / _key(card, ov.__version__, precision)
    build = partial(_build, card, files, precision, config)
    try:
        model = _from_cache(core, card, build, folder, config)
    except OSError:
        # A home that cannot be written costs the cache, not the model.
        model = core.compile_model(build(), "CPU", config)
    return CompiledEncoder(model, max_tokens=card.max_tokens, precision=precision)


def _from_cache(core: Any, card: Card, build: Callable[[], Any], folder: Path, config: dict[str, Any]) -> Any:
    description = folder / "encoder.xml"
    if not description.exists():
        _write_graph(build, folder)
    with_cache = {**config, "CACHE_DIR": str(folder)}
    try:
        return core.compile_model(str(description), "CPU", with_cache)
    except RuntimeError:
        # OpenVINO says no more than that; a damaged entry is built again, and a second failure is the model's.
        shutil.rmtree(folder, ignore_errors=True)
        _write_graph(build, folder)
    try:
        return core.compile_model(str(description), "CPU", with_cache)
    except RuntimeError as error:
        raise ModelError(f"{card.name} cannot be compiled for this CPU: {error}") from error


def _write_graph(build: Callable[[], Any], folder: Path) -> None:
    """Save the graph beside its weights under a temporary name, then switch: a reader sees all of it or nothing."""
    ov = openvino()

    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        ov.save_model(build(), str(staging / "encoder.xml"), compress_to_fp16=False)
        os.rename(staging, folder)  # noqa: PTH104 - Path.rename would replace on some systems
    except OSError:
        shutil.rmtree(staging, ignore_errors=True)
        if not (folder / "encoder.xml").exists():
            raise


def _build(card: Card, files: Mapping[str, Path], precision: str, config: Mapping[str, Any]) -> Any:
    if precision == "int8":
        from sememe.models import quantised

        return quantised.build(card, files, config)
    return exported.build(card, files) if card.runs == "file" else graph.build(OpenVINOOps(), card, files)


def _key(card: Card, version: str, precision: str) -> str:
    """Everything that the saved graph depends on, as a name."""
    depends = {
        "digest": card.digest,
        "architecture": asdict(card.architecture) if card.architecture else card.runs,
        "pooling": card.pooling,
        "pools_prompt": card.pools_prompt,
        "steps": [asdict(step) for step in (*card.token_steps, *card.steps)],
        "token_steps": len(card.token_steps),
        "segments": card.segments,
        "normalised": card.normalize,
        "max_tokens": card.max_tokens,
        "graph": GRAPH_VERSION,
        "openvino": version,
    }
    if precision == "int8":
        from sememe.models import quantised

        depends["sample"] = quantised.SAMPLE_VERSION
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    return f"{card.name.replace('/', '--')}-{digest[:16]}"


def cpu_capabilities() -> list[str]:
    """What OpenVINO says this CPU computes in."""
    ov = openvino()

    return list(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _floats(core: Any) -> str:
    """What this CPU multiplies floats in: bf16 when it does so itself."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def hint_of(core: Any, precision: str) -> str:
    """What OpenVINO is told to compute in: whole numbers are part of the graph, and what is left are floats."""
    return _floats(core) if precision == "int8" else precision


def precision_of(core: Any, card: Card, settings: Settings) -> str:
    """What to compute in. Raises ModelError for what this CPU does not multiply, and int8 of a graph from a folder."""
    if settings.precision == "bf16" and _floats(core) != "bf16":
        raise ModelError("precision bf16 was asked for, but this CPU does not multiply bf16; use f32 or auto")
    if settings.precision == "int8" and card.runs != "graph":
        raise ModelError(
            f"precision int8 was asked for, but {card.name} is a graph that lies in its folder, and only one that is "
            "built from weights is calibrated; use f32 or auto"
        )
    return _floats(core) if settings.precision == "auto" else settings.precision
