"""A transformer as a graph, built from its description and its weights out of the operations of some engine.

Inputs: `input_ids (batch, length) int32` and `lengths (batch,) int32`, rows padded on the right with anything; where
prompts are left out of pooling also `skipped (batch,) int32`, how many tokens at the start are not pooled; where pairs
of texts are told apart `second (batch,) int32`, the place where the second begins. Output: `embedding (batch, dim)
float32`, or `(batch, length, dim)` where every token has a vector. The layers follow Vaswani et al. 2017
(arXiv:1706.03762) in the varieties that `Architecture` names. This file knows nothing of tokenizers, batches, devices,
or who runs the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sememe.errors import ModelError
from sememe.models import pooling
from sememe.models.architecture import FAMILIES, Architecture
from sememe.models.cards import Card
from sememe.models.weights import Parts, Tensors
from sememe.types import Vectors

Node: TypeAlias = Any
Ops: TypeAlias = Any

HIDDEN_BIAS = -1e4
"""Added to the score of what must not be seen."""

FARTHEST = 128
"""MPNet's relative positions are the same beyond this distance."""


def build(ops: Ops, card: Card, files: Mapping[str, Path], *, late: bool = False) -> Any:
    """The model of a card, by the operations of an engine; a `late` one gives a vector a span (see `pooling.spans`).

    Raises ModelError when the files lack a tensor that the card needs, or have one of another shape.
    """
    arch = card.architecture
    if arch is None:
        raise ModelError(f"{card.name} has no architecture to build a graph from")
    family = FAMILIES[arch.family]
    parts = Parts(Tensors(card.weight_files(files)), family.layout, family.prefixes)
    ids, lengths = ops.input("input_ids", 2), ops.input("lengths", 1)
    counted = ops.count_to(ops.size(ids, 1))
    real = ops.less(ops.unsqueeze(counted, 0), ops.unsqueeze(lengths, 1))
    second = ops.input("second", 1) if card.segments else None
    states = _Transformer(ops, arch, parts, card.max_tokens, ids, counted, real, second).states()
    tokens = pooling.Tokens(states, counted, lengths, real)
    if late:
        return ops.model(pooling.spans(ops, tokens, card=card, files=files), "embedding")
    return ops.model(pooling.pooled(ops, tokens, card=card, files=files), "embedding")


@dataclass(frozen=True, slots=True)
class _Transformer:
    """One transformer being built. Products are `x @ weightᵀ`; states are (batch, length, hidden)."""

    ops: Ops
    arch: Architecture
    parts: Parts
    max_tokens: int
    ids: Node
    counted: Node
    real: Node
    second: Node | None = None

    def states(self) -> Node:
        """The last hidden states of all tokens."""
        arch, states = self.arch, self._embeddings()
        near, far = self._bias(arch.window) if arch.windowed else None, self._bias(0)
        turns = {rope: self._turn(rope) for rope in dict.fromkeys(arch.ropes)}
        for layer in range(arch.layers):
            rope = arch.rope(layer)
            bias = near if layer in arch.windowed else far
            states = self._block(states, layer, "attention", bias, turns[rope] if rope else None)
            states = self._block(states, layer, "mlp", None, None)
        return self._norm(states, "final_norm") if arch.final_norm else states

    def _embeddings(self) -> Node:
        ops, arch = self.ops, self.arch
        words = self.parts.get("words", arch.vocabulary or None, arch.hidden)
        # Added tokens may lie beyond the table (Gemma's picture does): they are read as its last row.
        ids = ops.minimum(self.ids, ops.constant(np.int32(len(words) - 1)))
        states = ops.gather(ops.constant(words), ids)
        if arch.embedding_scale != 1.0:
            states = ops.multiply(states, ops.constant(np.float32(arch.embedding_scale)))
        if arch.learned:
            places = self.parts.get("places", arch.positions, arch.hidden)
            states = ops.add(states, ops.gather(ops.constant(places), self._places()))
        if arch.token_types:
            states = ops.add(states, self._types(self.parts.get("types", arch.token_types, arch.hidden)))
        return self._norm(states, "embedding_norm") if arch.embedding_norm else states

    def _types(self, table: Vectors) -> Node:
        """What tells a token of the second text from one of the first."""
        ops = self.ops
        if self.second is None:
            return ops.constant(table[0])
        before = ops.less(ops.unsqueeze(self.counted, 0), ops.unsqueeze(self.second, 1))
        return ops.select(ops.unsqueeze(before, 2), ops.constant(table[0]), ops.constant(table[1]))

    def _places(self) -> Node:
        """The row of each token in the table of positions."""
        ops, padding = self.ops, self.arch.padding
        if padding is None:
            return self.counted
        # RoBERTa counts from the padding's number on, and skips a padding token that stands in the text.
        told = ops.subtract(
            ops.constant(np.int32(1)), ops.convert(ops.equal(self.ids, ops.constant(np.int32(padding))), "i32")
        )
        places = ops.add(ops.multiply(ops.running_total(told, 1), told), ops.constant(np.int32(padding)))
        # Rows beyond the text's end may count beyond the table; nobody reads them.
        return ops.minimum(places, ops.constant(np.int32(self.arch.positions - 1)))

    def _distances(self) -> Node:
        """How far each key is behind its query: (length, length) int32, negative before it."""
        return self.ops.subtract(self.ops.unsqueeze(self.counted, 0), self.ops.unsqueeze(self.counted, 1))

    def _bias(self, window: int) -> Node:
        """What is added to the scores, so that only what may be seen is seen: four axes, as the scores have."""
        ops, arch = self.ops, self.arch
        seen = ops.unsqueeze(ops.unsqueeze(self.real, 1), 1)
        if arch.causal:
            seen = ops.both(seen, ops.less(self._distances(), ops.constant(np.int32(1))))
        if window:
            distances = self._distances()
            seen = ops.both(seen, ops.less(ops.constant(np.int32(-window - 1)), distances))
            seen = ops.both(seen, ops.less(distances, ops.constant(np.int32(window + 1))))
        bias = ops.select(seen, ops.constant(np.float32(0)), ops.constant(np.float32(HIDDEN_BIAS)))
        return ops.add(bias, self._relative_bias()) if arch.buckets else bias

    def _relative_bias(self) -> Node:
        ops, arch = self.ops, self.arch
        table = self.parts.get("distances", arch.buckets, arch.heads)
        by_distance = table[relative_buckets(np.arange(-FARTHEST, FARTHEST + 1), arch.buckets)]
        farthest = ops.constant(np.int32(FARTHEST))
        near = ops.minimum(ops.maximum(self._distances(), ops.constant(np.int32(-FARTHEST))), farthest)
        return ops.transpose(ops.gather(ops.constant(by_distance), ops.add(near, farthest)), (2, 0, 1))

    def _turn(self, rope: Any) -> tuple[Node, Node, int]:
        """Cosines, sines and how many dimensions of a head they turn."""
        tables = rope.tables(self.max_tokens)
        cos, sin = (self.ops.gather(self.ops.constant(table), self.counted) for table in tables)
        return cos, sin, rope.dims

    def _block(self, states: Node, layer: int, kind: str, bias: Node, turn: tuple[Node, Node, int] | None) -> Node:
        """Attention or the feed-forward part, with its norms and its residual."""
        ops, arch = self.ops, self.arch
        bare = arch.bare_first and layer == 0 and kind == "attention"
        x = states
        if arch.placement != "post" and not bare:
            x = self._norm(x, f"before_{kind}", layer)
        x = self._mlp(x, layer) if kind == "mlp" else self._attention(x, layer, bias, turn)
        if arch.placement == "sandwich":
            x = self._norm(x, f"after_{kind}", layer)
        states = ops.add(x, states)
        return self._norm(states, f"after_{kind}", layer) if arch.placement == "post" else states

    def _attention(self, x: Node, layer: int, bias: Node, turn: tuple[Node, Node, int] | None) -> Node:
        ops, arch, width = self.ops, self.arch, self.arch.head_width
        key_heads = arch.key_heads or arch.heads

        def heads(part: str, count: int) -> Node:
            split = ops.reshape(self._dense(x, part, count * width, arch.hidden, layer), (0, 0, count, width))
            if arch.query_key_norm and part != "value":
                split = self._norm(split, f"{part}_norm", layer, width)
            split = ops.transpose(split, (0, 2, 1, 3))
            if turn is not None and part != "value":
                split = self._turned(split, *turn)
            if count != arch.heads:
                split = ops.gather(
                    split, ops.constant(np.arange(arch.heads, dtype=np.int32) // (arch.heads // count)), 1
                )
            return split

        scale = arch.scale or width**-0.5
        attended = ops.attention(
            heads("query", arch.heads), heads("key", key_heads), heads("value", key_heads), bias=bias, scale=scale
        )
        joined = ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), (0, 0, arch.heads * width))
        return self._dense(joined, "output", arch.hidden, arch.heads * width, layer)

    def _turned(self, x: Node, cos: Node, sin: Node, dims: int) -> Node:
        ops, rest = self.ops, self.arch.head_width - dims
        turning, *still = ops.split(x, [dims, rest]) if rest else [x]
        left, right = ops.split(turning, [dims // 2, dims // 2])
        across = ops.join([ops.multiply(right, ops.constant(np.float32(-1))), left])
        turned = ops.add(ops.multiply(turning, cos), ops.multiply(across, sin))
        return ops.join([turned, *still]) if still else turned

    def _mlp(self, x: Node, layer: int) -> Node:
        ops, arch = self.ops, self.arch
        up = self._dense(x, "up", arch.intermediate, arch.hidden, layer)
        if arch.gated:
            gate = self._dense(x, "gate", arch.intermediate, arch.hidden, layer)
            inner = ops.multiply(ops.apply(arch.activation, gate), up)
        else:
            inner = ops.apply(arch.activation, up)
        return self._dense(inner, "down", arch.hidden, arch.intermediate, layer)

    def _dense(self, x: Node, part: str, rows: int, columns: int, layer: int) -> Node:
        product = self.ops.product(x, self.parts.get(part, rows, columns, layer=layer))
        if part not in self.arch.biased:
            return product
        return self.ops.add(product, self.ops.constant(self.parts.get(part, rows, layer=layer, vector="bias")))

    def _norm(self, x: Node, part: str, layer: int = 0, width: int = 0) -> Node:
        ops, arch = self.ops, self.arch
        size = width or arch.hidden
        weight = self.parts.get(part, size, layer=layer)
        if arch.norm == "layer":
            scaled = ops.multiply(ops.centred(x, arch.layer_norm_eps), ops.constant(weight))
            if not arch.norm_bias:
                return scaled
            return ops.add(scaled, ops.constant(self.parts.get(part, size, layer=layer, vector="bias")))
        squares = ops.mean_kept(ops.multiply(x, x), -1)
        length = ops.apply("sqrt", ops.add(squares, ops.constant(np.float32(arch.layer_norm_eps))))
        scale = weight + np.float32(1) if arch.norm == "rms+1" else weight
        return ops.multiply(ops.divide(x, length), ops.constant(scale))


def relative_buckets(distances: np.ndarray[Any, Any], buckets: int) -> np.ndarray[Any, Any]:
    """The bucket of each distance of a key behind its query (Raffel et al. 2020, arXiv:1910.10683): near ones exact,
    farther ones by their logarithm, half of the buckets for each direction."""
    half = buckets // 2
    exact = half // 2
    far = np.abs(distances)
    # In float32 as the reference has it: a rounding the other way is another bucket.
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact)) / np.float32(np.log(FARTHEST / exact))
    logarithmic = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    bucket: np.ndarray[Any, Any] = np.where(far < exact, far, logarithmic) + half * (distances > 0)
    return bucket
