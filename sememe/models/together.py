"""Late chunking (Günther et al. 2024, arXiv:2409.04701): the states of all tokens of a document, pooled chunk by chunk,
so that each chunk's vector knows what stands around it.

This file builds the network without its pooling, for OpenVINO or onnxruntime, and runs one document at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sememe.errors import ModelError
from sememe.models import engine, graph
from sememe.models.cards import Card
from sememe.settings import Settings, cores
from sememe.types import Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Run: TypeAlias = Callable[[dict[str, Any]], Vectors]


class TogetherEngine:
    """A network that pools spans of tokens. Threads wait for each other."""

    def __init__(self, run: Run, keeps: object) -> None:
        self._run = run
        self._keeps = keeps
        self._lock = threading.Lock()

    def vectors(self, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> Vectors:
        """The vectors of spans [first, last) of one document's tokens: (n, dim) float32."""
        first, last = np.array(spans, dtype=np.int32).reshape(-1, 2).T
        table = np.array([ids], dtype=np.int32)
        lengths = np.array([len(ids)], dtype=np.int32)
        with self._lock:
            return self._run({"input_ids": table, "lengths": lengths, "first": first.copy(), "last": last.copy()})


def load(card: Card, files: Mapping[str, Path], *, settings: Settings) -> TogetherEngine:
    """The network of a card. Raises ModelError for one whose vector is not the mean of its tokens' states."""
    if card.runs != "graph" or card.pooling != "mean":
        how = f"pools by {card.pooling}" if card.runs == "graph" else f"runs as {card.runs}"
        raise ModelError(
            f"{card.name} {how}; its chunks can be embedded together only where a graph is built from its weights and "
            f"its vectors are means of token states: use windows, or truncate"
        )
    if engine.runs_openvino(card, settings):
        return _openvino(card, files, settings)
    return _onnx(card, files, settings)


def _openvino(card: Card, files: Mapping[str, Path], settings: Settings) -> TogetherEngine:
    from sememe.models.compiled import hint_of, precision_of
    from sememe.models.openvino_library import openvino
    from sememe.models.openvino_ops import OpenVINOOps

    core = openvino().Core()
    # One text at a time, so every core works on it.
    config = {
        "INFERENCE_PRECISION_HINT": hint_of(core, precision_of(core, card, settings)),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": cores(settings.threads),
    }
    request = core.compile_model(graph.build(OpenVINOOps(), card, files, late=True), "CPU", config)
    single = request.create_infer_request()

    def run(inputs: dict[str, Any]) -> Vectors:
        single.infer(inputs)
        vectors: Vectors = single.get_output_tensor(0).data.copy()
        return vectors

    return TogetherEngine(run, request)


def _onnx(card: Card, files: Mapping[str, Path], settings: Settings) -> TogetherEngine:
    from sememe.models.onnx_engine import session_of
    from sememe.models.onnx_ops import OnnxOps

    session, keeps = session_of(card, graph.build(OnnxOps(), card, files, late=True), settings)

    def run(inputs: dict[str, Any]) -> Vectors:
        (vectors,) = session.run(["embedding"], inputs)
        found: Vectors = vectors
        return found

    return TogetherEngine(run, keeps)


def together(
    network: TogetherEngine, tokenizer: Tokenizer, chunks: Sequence[str], *, prefix: str, card: Card
) -> Vectors:  # fmt: skip
    """The vectors of consecutive chunks, as many in one context as the model reads: (n, dim) float32."""
    before, after = _frame(tokenizer, prefix)
    room = card.max_tokens - len(before) - len(after)
    tokens = [encoding.ids[:room] for encoding in tokenizer.encode_batch_fast(list(chunks), add_special_tokens=False)]
    vectors = np.zeros((len(chunks), card.dim), dtype=np.float32)
    start = 0
    while start < len(tokens):
        ends = np.cumsum([len(one) for one in tokens[start : start + room]])
        stop = start + max(1, int(np.searchsorted(ends, room, side="right")))
        ends = ends[: stop - start] + len(before)
        ids = [*before, *chain.from_iterable(tokens[start:stop]), *after]
        vectors[start:stop] = network.vectors(ids, list(zip([len(before), *ends[:-1]], ends, strict=True)))
        start = stop
    return vectors


def _frame(tokenizer: Tokenizer, prefix: str) -> tuple[list[int], list[int]]:
    """The tokens before and after every input: special ones, and the prompt."""
    probe = tokenizer.encode("a")
    plain = [i for i, special in enumerate(probe.special_tokens_mask) if not special] or [0]
    prompt = tokenizer.encode(prefix, add_special_tokens=False).ids if prefix else []
    return [*probe.ids[: plain[0]], *prompt], probe.ids[plain[-1] + 1 :]
