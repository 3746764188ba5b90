"""From the states of tokens to one vector, or to one a token: the poolings and the steps around them, as parts of a
graph.

They follow the modules of sentence-transformers: Pooling, Dense, LayerNorm and Normalize; heads are made of the same.
This file knows a card and the operations of an engine; it does not know where the states come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sememe.models.cards import Card, Step
from sememe.models.rotary import require
from sememe.models.weights import Tensors

Node: TypeAlias = Any
Ops: TypeAlias = Any
LEAST_COUNT = 1e-9


@dataclass(frozen=True, slots=True)
class Tokens:
    """States (batch, length, hidden) and the nodes that tell the tokens of a batch apart.

    `counted (length,)` are the places, `lengths (batch,)` how many are real, `real (batch, length)` which.
    """

    states: Node
    counted: Node
    lengths: Node
    real: Node


def pooled(ops: Ops, tokens: Tokens, *, card: Card, files: Mapping[str, Path]) -> Node:
    """The vectors (batch, dim) of a batch, or (batch, length, dim) where every token has its own."""
    vector = _stepped(ops, tokens.states, card.token_steps, card=card, files=files)
    if card.pooling != "tokens":
        vector = _vector(ops, replace(tokens, states=vector), card)
        vector = _stepped(ops, vector, card.steps, card=card, files=files)
    return ops.unit(vector) if card.normalize else vector


def _stepped(ops: Ops, vector: Node, steps: tuple[Step, ...], *, card: Card, files: Mapping[str, Path]) -> Node:
    """What the modules behind a transformer, or behind the pooling, make of their input."""
    own = card.weight_files(files)
    for step in steps:
        vector = STEPS[step.kind](ops, vector, step, [files[step.file]] if step.file else own)
    return vector


def _vector(ops: Ops, tokens: Tokens, card: Card) -> Node:
    """What the poolings of a card make of the states, one behind the other."""
    states, real, lengths = tokens.states, tokens.real, tokens.lengths
    places = ops.unsqueeze(tokens.counted, 0)
    kept, first = real, ops.constant(np.int32(0))
    if not card.pools_prompt:
        skipped = ops.unsqueeze(ops.input("skipped", 1), 1)
        kept, first = ops.both(real, ops.less(ops.subtract(skipped, ops.constant(np.int32(1))), places)), skipped
    last = ops.subtract(ops.unsqueeze(lengths, 1), ops.constant(np.int32(1)))
    marks = {"cls": ops.equal(places, first), "lasttoken": ops.equal(places, last)}
    vectors = []
    for mode in card.pooling.split("+"):
        if mode in marks:
            vectors.append(_summed(ops, states, _weights(ops, marks[mode])))
        elif mode == "sum":
            vectors.append(_summed(ops, states, _weights(ops, kept)))
        elif mode == "max":
            vectors.append(_highest(ops, states, kept))
        else:
            vectors.append(_mean(ops, mode, states, _weights(ops, kept), places))
    return ops.join(vectors) if len(vectors) > 1 else vectors[0]


def spans(ops: Ops, tokens: Tokens, *, card: Card, files: Mapping[str, Path]) -> Node:
    """The vectors (n, dim) of spans of one text's tokens, the mean of each.

    The inputs `first` and `last`, (n,) int32 both, are the first token of each and the first that is not in it.
    """
    places = ops.unsqueeze(tokens.counted, 0)
    first, last = (ops.unsqueeze(ops.input(name, 1), 1) for name in ("first", "last"))
    inside = ops.both(ops.less(ops.subtract(first, ops.constant(np.int32(1))), places), ops.less(places, last))
    weights = ops.convert(inside, "f32")
    count = ops.maximum(ops.unsqueeze(ops.total(weights, 1), 1), ops.constant(np.float32(LEAST_COUNT)))
    states = ops.reshape(tokens.states, (-1, card.architecture.hidden if card.architecture else 0))
    vector = _stepped(ops, ops.divide(ops.combined(weights, states), count), card.steps, card=card, files=files)
    return ops.unit(vector) if card.normalize else vector


def _weights(ops: Ops, kept: Node) -> Node:
    return ops.unsqueeze(ops.convert(kept, "f32"), 2)


def _summed(ops: Ops, states: Node, weights: Node) -> Node:
    return ops.total(ops.multiply(states, weights), 1)


def _highest(ops: Ops, states: Node, kept: Node) -> Node:
    lowest = ops.constant(np.float32(np.finfo(np.float32).min))
    return ops.highest(ops.select(ops.unsqueeze(kept, 2), states, lowest), 1)


def _mean(ops: Ops, mode: str, states: Node, weights: Node, places: Node) -> Node:
    if mode == "weightedmean":
        # Later tokens count for more (Muennighoff 2022, arXiv:2202.08904).
        later = ops.convert(ops.add(places, ops.constant(np.int32(1))), "f32")
        weights = ops.multiply(weights, ops.unsqueeze(later, 2))
    count = ops.maximum(ops.total(weights, 1), ops.constant(np.float32(LEAST_COUNT)))
    if mode == "mean_sqrt_len":
        count = ops.apply("sqrt", count)
    return ops.divide(_summed(ops, states, weights), count)


def _dense(ops: Ops, vector: Node, step: Step, files: list[Path]) -> Node:
    tensors = Tensors(files)
    weight, bias = step.tensors or ("linear.weight", "linear.bias")
    matrix = tensors.get(weight, None if step.rows else step.width, step.takes)
    if step.rows:
        require(max(step.rows) < len(matrix), f"{weight} has {len(matrix)} rows, and row {max(step.rows)} is asked for")
        matrix = matrix[list(step.rows)]
    result = ops.product(vector, matrix)
    if step.bias:
        result = ops.add(result, ops.constant(tensors.get(bias, step.width)))
    result = ops.apply(step.activation, result)
    if not step.residual:
        return result
    if step.width != step.takes:
        vector = ops.product(vector, tensors.get("residual.weight", step.width, step.takes))
    return ops.add(result, vector)


def _layer_norm(ops: Ops, vector: Node, step: Step, files: list[Path]) -> Node:
    tensors = Tensors(files)
    weight, bias = step.tensors or ("norm.weight", "norm.bias")
    scaled = ops.multiply(ops.centred(vector, step.eps), ops.constant(tensors.get(weight, step.width)))
    return ops.add(scaled, ops.constant(tensors.get(bias, step.width))) if step.bias else scaled


def _unit(ops: Ops, vector: Node, step: Step, files: list[Path]) -> Node:
    del step, files
    return ops.unit(vector)


def _log1p_relu(ops: Ops, vector: Node, step: Step, files: list[Path]) -> Node:
    del step, files
    return ops.apply("log", ops.add(ops.apply("relu", vector), ops.constant(np.float32(1))))


STEPS: Mapping[str, Callable[[Ops, Node, Step, list[Path]], Node]] = {
    "dense": _dense,
    "layer_norm": _layer_norm,
    "normalize": _unit,
    "log1p_relu": _log1p_relu,
}
