"""A graph in eight bits: where it costs the vectors least, products of whole numbers in place of products of floats.

Weights are whole numbers from -127 to 127 with one scale for each output; what they are multiplied with is told by 256
levels between the least and the greatest that was seen while a sample was read. Before that, each channel is divided
by a factor that its column of weights is multiplied with, so that a few wide channels do not take all levels
(SmoothQuant: Xiao et al. 2023, arXiv:2211.10438). Products that narrow stay floats: what the feed-forward part ends
with is the most uneven of all, and most of what MiniLM lost was lost there. The sample is a file of sememe's own, so
that every machine makes the same vectors. This file knows graphs and ranges; it does not know what vectors are for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sememe.errors import ModelError
from sememe.models import graph
from sememe.models.cards import Card
from sememe.models.openvino_library import openvino
from sememe.models.openvino_ops import Node, OpenVINOOps
from sememe.models.tokens import load_tokenizer
from sememe.space import CANARY_COSINE, CANARY_TEXTS
from sememe.types import Vectors

SAMPLE_VERSION = 1
"""Raised when `sample.txt`, or what is made of it, changes, so that old entries of the cache are left alone."""

JOINED = (1, 4, 16)
"""So many lines of the sample are read as one text."""

SMOOTHING = 0.7
"""How much of a channel's width goes to its weights; of .4 to .8 the one that kept MiniLM's vectors nearest."""

LEVELS = 256
LARGEST = 127
LEAST = np.float32(1e-5)


@dataclass(slots=True)
class Range:
    """What enters a product, or several that take the same: its channels' least, greatest, and largest weight."""

    node: Node
    weight: Vectors
    low: Vectors
    high: Vectors


def build(card: Card, files: Mapping[str, Path], config: Mapping[str, Any]) -> Any:
    """The model of a card in eight bits, calibrated.

    Raises ModelError when three known texts show that its vectors may not meet those that the floats make.
    """
    tokenizer = load_tokenizer(card, files, max_tokens=card.max_tokens)

    def ids_of(texts: Iterable[str]) -> list[list[int]]:
        written = [text.lower() if card.lower_case else text for text in texts]
        return [one.ids for one in tokenizer.encode_batch(written, add_special_tokens=card.special_tokens)]

    core, watching = openvino().Core(), Watching()
    watched = core.compile_model(graph.build(watching, card, files), "CPU", dict(config))
    canaries = [outputs[0] for outputs in _outputs(watched, ids_of(CANARY_TEXTS))]
    for outputs in _outputs(watched, ids_of(_sample())):
        for seen, low, high in zip(watching.ranges, outputs[1::2], outputs[2::2], strict=True):
            np.minimum(seen.low, low, out=seen.low)
            np.maximum(seen.high, high, out=seen.high)
    made = graph.build(Quantising(watching.ranges), card, files)
    quantised = core.compile_model(made, "CPU", dict(config))
    _check(card, canaries, [outputs[0] for outputs in _outputs(quantised, ids_of(CANARY_TEXTS))])
    return made


class Watching(OpenVINOOps):
    """The same graph with more outputs: of each input of a product that will be quantised, least and greatest."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[Range] = []

    def product(self, x: Node, matrix: npt.NDArray[np.float32]) -> Node:
        """As ever, and note what enters it."""
        if _quantised(x, matrix):
            largest = np.abs(matrix).max(axis=0)
            if not self.ranges or self.ranges[-1].node is not x:
                self.ranges.append(Range(x, largest, np.full_like(largest, np.inf), np.full_like(largest, -np.inf)))
            np.maximum(self.ranges[-1].weight, largest, out=self.ranges[-1].weight)
        return super().product(x, matrix)

    def model(self, output: Node, name: str) -> Any:
        """The model with two more outputs for each range."""
        made = super().model(output, name)
        axes = self._vector([0, 1])
        for seen in self.ranges:
            for reduced in (self._op.reduce_min(seen.node, axes), self._op.reduce_max(seen.node, axes)):
                made.add_results([self._op.result(reduced)])
        return made


class Quantising(OpenVINOOps):
    """The graph with eight bits where `ranges` say what to expect, in the order in which `Watching` met them."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        super().__init__()
        self._ranges = iter(ranges)
        self._input: Node = None
        self._levels: Node = None
        self._factor: Vectors = np.ones(0, dtype=np.float32)

    def product(self, x: Node, matrix: npt.NDArray[np.float32]) -> Node:
        """x times a matrix (out, in), in whole numbers where that was watched."""
        if not _quantised(x, matrix):
            return super().product(x, matrix)
        if x is not self._input:
            self._input, (self._levels, self._factor) = x, self._smoothed(x, next(self._ranges))
        weights = matrix * self._factor
        scale = np.maximum(np.abs(weights).max(axis=1, keepdims=True), LEAST) / np.float32(LARGEST)
        whole = self.convert(self.constant(np.rint(weights / scale).astype(np.int8)), "f32")
        return self._op.matmul(self._levels, self.multiply(whole, self.constant(scale)), False, True)

    def _smoothed(self, x: Node, seen: Range) -> tuple[Node, Vectors]:
        """x by its levels, each channel divided by its factor (channels,), and the factors."""
        reach = np.maximum(np.maximum(-seen.low, seen.high), LEAST)
        factor = reach**SMOOTHING / np.maximum(seen.weight, LEAST) ** (1 - SMOOTHING)
        factor = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
        ends = [self.constant(end) for end in ((seen.low / factor).min(), (seen.high / factor).max())]
        smooth = self.multiply(x, self.constant(1 / factor))
        return self._op.fake_quantize(smooth, *ends, *ends, LEVELS), factor


def _quantised(x: Node, matrix: npt.NDArray[np.float32]) -> bool:
    """Products over all tokens that do not narrow."""
    rows, columns = matrix.shape
    return rows >= columns and int(x.get_output_partial_shape(0).rank.get_length()) == 3


def _sample() -> list[str]:
    """What is read to learn the ranges: lines in many manners and some languages, alone and joined to paragraphs."""
    lines = package_files("sememe.models").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()
    return [" ".join(lines[i : i + count]) for count in JOINED for i in range(0, len(lines), count)]


def _outputs(compiled: Any, inputs: Sequence[list[int]]) -> Iterator[list[Vectors]]:
    """All outputs for each input alone."""
    request, names = compiled.create_infer_request(), {port.any_name for port in compiled.inputs}
    for ids in inputs:
        given = {"input_ids": [ids], "lengths": [len(ids)], "skipped": [0]}
        request.infer({name: np.array(given[name], dtype=np.int32) for name in names})
        yield [request.get_output_tensor(i).data.copy() for i in range(len(compiled.outputs))]


def _check(card: Card, floats: list[Vectors], made: list[Vectors]) -> None:
    # Of one vector a text, or of all of its tokens.
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(floats, made, strict=True)]
    least = min(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) for a, b in pairs)
    if not least >= CANARY_COSINE:
        raise ModelError(
            f"{card.name} in int8 makes other vectors than in floats: the cosine of a known text is "
            f"{least:.4f}, and {CANARY_COSINE} is asked for; use precision f32 or auto"
        )
