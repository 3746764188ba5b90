"""A BERT encoder as an OpenVINO graph, built in Python straight from `model.safetensors`.

Inputs: `input_ids (batch, length) int32` and `lengths (batch,) int32`, rows padded on the right with anything.
Output: `embedding (batch, hidden) float32`, pooled over the real tokens and, when asked, of unit length.
The layers follow Devlin et al. 2018 (arXiv:1810.04805); the weights keep the names that transformers gives them.
This file knows nothing of tokenizers, batches or devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sememe.errors import ModelError
from sememe.models.cards import Architecture

Node: TypeAlias = Any
Weights: TypeAlias = Mapping[str, Any]


def build(weights_file: Path, architecture: Architecture, *, pooling: str, normalised: bool) -> Any:
    """The `openvino.Model` of one encoder.

    Raises ModelError when the file lacks a tensor that the architecture needs, or has one of another shape.
    """
    import openvino as ov
    from openvino import opset13 as op

    weight = _reader(weights_file, architecture)
    ids = op.parameter([-1, -1], ov.Type.i32, name="input_ids")
    lengths = op.parameter([-1], ov.Type.i32, name="lengths")
    size = op.gather(op.shape_of(ids, "i32"), op.constant(np.int32(1)), op.constant(np.int32(0)))
    positions = op.range(op.constant(np.int32(0)), size, op.constant(np.int32(1)), output_type="i32")
    real = op.less(op.unsqueeze(positions, _axis(0)), op.unsqueeze(lengths, _axis(1)))

    states = _embeddings(ids, positions, weight, architecture)
    mask = op.unsqueeze(op.unsqueeze(real, _axis(1)), _axis(1))
    bias = op.select(mask, op.constant(np.float32(0)), op.constant(np.float32(-1e4)))
    for layer in range(architecture.layers):
        states = _layer(states, bias, weight, f"encoder.layer.{layer}.", architecture)
    pooled = POOLINGS[pooling](states, real, lengths)
    if normalised:
        pooled = op.normalize_l2(pooled, _axis(1), 1e-12, "max")
    result = op.result(pooled)
    result.output(0).get_tensor().set_names({"embedding"})
    ids.output(0).get_tensor().set_names({"input_ids"})
    lengths.output(0).get_tensor().set_names({"lengths"})
    return ov.Model([result], [ids, lengths], "encoder")


def _embeddings(ids: Node, positions: Node, weight: Callable[..., Node], arch: Architecture) -> Node:
    from openvino import opset13 as op

    words = op.gather(weight("embeddings.word_embeddings.weight", None, arch.hidden), ids, _axis(0))
    places = op.gather(
        weight("embeddings.position_embeddings.weight", arch.positions, arch.hidden), positions, _axis(0)
    )
    kind = op.gather(
        weight("embeddings.token_type_embeddings.weight", arch.token_types, arch.hidden), _axis(0), _axis(0)
    )
    return _norm(op.add(words, op.add(places, kind)), weight, "embeddings.LayerNorm", arch)


def _layer(states: Node, bias: Node, weight: Callable[..., Node], name: str, arch: Architecture) -> Node:
    """Attention, then the feed-forward pair, each with its residual and norm: (batch, length, hidden)."""
    from openvino import opset13 as op

    hidden, inner = arch.hidden, arch.intermediate

    def heads(part: str) -> Node:
        projected = _dense(states, weight, f"{name}attention.self.{part}", hidden, hidden)
        split = op.reshape(projected, _shape(0, 0, arch.heads, hidden // arch.heads), True)
        return op.transpose(split, _shape(0, 2, 1, 3))

    attended = op.scaled_dot_product_attention(heads("query"), heads("key"), heads("value"), bias)
    joined = op.reshape(op.transpose(attended, _shape(0, 2, 1, 3)), _shape(0, 0, hidden), True)
    joined = _dense(joined, weight, f"{name}attention.output.dense", hidden, hidden)
    states = _norm(op.add(joined, states), weight, f"{name}attention.output.LayerNorm", arch)
    wide = op.gelu(_dense(states, weight, f"{name}intermediate.dense", inner, hidden), "ERF")
    narrow = _dense(wide, weight, f"{name}output.dense", hidden, inner)
    return _norm(op.add(narrow, states), weight, f"{name}output.LayerNorm", arch)


def _dense(x: Node, weight: Callable[..., Node], name: str, rows: int, columns: int) -> Node:
    from openvino import opset13 as op

    product = op.matmul(x, weight(f"{name}.weight", rows, columns), False, True)
    return op.add(product, weight(f"{name}.bias", rows))


def _norm(x: Node, weight: Callable[..., Node], name: str, arch: Architecture) -> Node:
    from openvino import opset13 as op

    centred = op.mvn(x, _axis(-1), True, arch.layer_norm_eps, "inside_sqrt")
    scaled = op.multiply(centred, weight(f"{name}.weight", arch.hidden))
    return op.add(scaled, weight(f"{name}.bias", arch.hidden))


def _mean(states: Node, real: Node, lengths: Node) -> Node:
    from openvino import opset13 as op

    kept = op.unsqueeze(op.convert(real, "f32"), _axis(2))
    total = op.reduce_sum(op.multiply(states, kept), _axis(1))
    return op.divide(total, op.unsqueeze(op.convert(lengths, "f32"), _axis(1)))


def _first(states: Node, real: Node, lengths: Node) -> Node:
    from openvino import opset13 as op

    del real, lengths
    return op.gather(states, op.constant(np.int32(0)), op.constant(np.int32(1)))


POOLINGS: dict[str, Callable[[Node, Node, Node], Node]] = {"mean": _mean, "cls": _first}


def _reader(weights_file: Path, architecture: Architecture) -> Callable[..., Node]:
    """A function from a tensor's name (and expected shape, None for any) to a constant of the graph."""
    from openvino import opset13 as op
    from safetensors import SafetensorError, safe_open

    try:
        tensors: Any = safe_open(str(weights_file), framework="np")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{weights_file} is not a readable safetensors file: {error}") from error
    names = set(tensors.keys())
    prefix = "" if "embeddings.word_embeddings.weight" in names else f"{architecture.family}."

    def weight(name: str, *shape: int | None) -> Node:
        if prefix + name not in names:
            raise ModelError(f"{weights_file} has no tensor {prefix + name!r}; is it a {architecture.family} model?")
        array = tensors.get_tensor(prefix + name)
        if len(shape) != array.ndim or any(s not in (None, a) for s, a in zip(shape, array.shape, strict=True)):
            raise ModelError(f"{weights_file}: {name!r} has shape {array.shape}, the configuration says {shape}")
        return op.constant(np.ascontiguousarray(array, dtype=np.float32))

    return weight


def _axis(axis: int) -> Node:
    from openvino import opset13 as op

    return op.constant(np.array([axis], dtype=np.int32))


def _shape(*sizes: int) -> Node:
    from openvino import opset13 as op

    return op.constant(np.array(sizes, dtype=np.int32))
