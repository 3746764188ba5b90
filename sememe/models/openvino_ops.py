"""The operations that graphs are made of, as nodes of OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sememe.models.openvino_library import openvino

Node: TypeAlias = Any


class OpenVINOOps:
    """Makes nodes; `model` ends with everything that leads to an output."""

    def __init__(self) -> None:
        self._op: Any = openvino().opset15
        self.inputs: list[Node] = []

    def constant(self, array: npt.ArrayLike) -> Node:
        """An array that is known now."""
        return self._op.constant(np.ascontiguousarray(array).reshape(np.shape(array)))

    def input(self, name: str, rank: int) -> Node:
        """An int32 array that comes with every call."""
        node = self._op.parameter([-1] * rank, np.int32, name=name)
        node.output(0).get_tensor().set_names({name})
        self.inputs.append(node)
        return node

    def size(self, x: Node, axis: int) -> Node:
        """The length of an axis, a scalar."""
        return self._op.gather(self._op.shape_of(x, "i32"), self._scalar(axis), self._scalar(0))

    def count_to(self, size: Node) -> Node:
        """0, 1, … below a scalar: (size,) int32."""
        return self._op.range(self._scalar(0), size, self._scalar(1), output_type="i32")

    def gather(self, table: Node, rows: Node, axis: int = 0) -> Node:
        """The rows of a table."""
        return self._op.gather(table, rows, self._scalar(axis))

    def add(self, a: Node, b: Node) -> Node:
        """a + b."""
        return self._op.add(a, b)

    def subtract(self, a: Node, b: Node) -> Node:
        """a - b."""
        return self._op.subtract(a, b)

    def multiply(self, a: Node, b: Node) -> Node:
        """a * b."""
        return self._op.multiply(a, b)

    def divide(self, a: Node, b: Node) -> Node:
        """a / b."""
        return self._op.divide(a, b)

    def minimum(self, a: Node, b: Node) -> Node:
        """The smaller one."""
        return self._op.minimum(a, b)

    def maximum(self, a: Node, b: Node) -> Node:
        """The greater one."""
        return self._op.maximum(a, b)

    def less(self, a: Node, b: Node) -> Node:
        """a < b."""
        return self._op.less(a, b)

    def equal(self, a: Node, b: Node) -> Node:
        """a == b."""
        return self._op.equal(a, b)

    def both(self, a: Node, b: Node) -> Node:
        """a and b."""
        return self._op.logical_and(a, b)

    def select(self, condition: Node, a: Node, b: Node) -> Node:
        """a where the condition holds, else b."""
        return self._op.select(condition, a, b)

    def convert(self, x: Node, kind: str) -> Node:
        """As "f32" or "i32"."""
        return self._op.convert(x, kind)

    def product(self, x: Node, matrix: npt.NDArray[np.float32]) -> Node:
        """x times a matrix (out, in) that is known now."""
        return self._op.matmul(x, self.constant(matrix), False, True)

    def combined(self, a: Node, b: Node) -> Node:
        """The matrix product of two nodes."""
        return self._op.matmul(a, b, False, False)

    def reshape(self, x: Node, sizes: Sequence[int]) -> Node:
        """Another shape; 0 keeps an axis, -1 takes the rest."""
        return self._op.reshape(x, self._vector(sizes), True)

    def transpose(self, x: Node, order: Sequence[int]) -> Node:
        """The axes in another order."""
        return self._op.transpose(x, self._vector(order))

    def unsqueeze(self, x: Node, axis: int) -> Node:
        """One more axis, of length 1."""
        return self._op.unsqueeze(x, self._vector([axis]))

    def total(self, x: Node, axis: int) -> Node:
        """The sum along an axis, which goes."""
        return self._op.reduce_sum(x, self._vector([axis]))

    def highest(self, x: Node, axis: int) -> Node:
        """The maximum along an axis, which goes."""
        return self._op.reduce_max(x, self._vector([axis]))

    def mean_kept(self, x: Node, axis: int) -> Node:
        """The mean along an axis, which stays with length 1."""
        return self._op.reduce_mean(x, self._vector([axis]), True)

    def running_total(self, x: Node, axis: int) -> Node:
        """The sum up to and including each place."""
        return self._op.cumsum(x, self._scalar(axis))

    def split(self, x: Node, sizes: Sequence[int]) -> list[Node]:
        """The last axis in pieces."""
        parts = self._op.variadic_split(x, self._scalar(-1), self._vector(sizes))
        return list(parts.outputs())

    def join(self, parts: Sequence[Node]) -> Node:
        """Pieces along the last axis."""
        return self._op.concat(list(parts), -1)

    def apply(self, function: str, x: Node) -> Node:
        """A function of each number: gelu, gelu_tanh, silu, relu, tanh, sigmoid, sqrt, log, identity."""
        if function == "identity":
            return x
        if function in ("gelu", "gelu_tanh"):
            return self._op.gelu(x, "ERF" if function == "gelu" else "TANH")
        named = {"silu": self._op.swish, "relu": self._op.relu, "tanh": self._op.tanh, "sqrt": self._op.sqrt}
        return {**named, "sigmoid": self._op.sigmoid, "log": self._op.log}[function](x)

    def centred(self, x: Node, eps: float) -> Node:
        """Mean 0 and variance 1 along the last axis: the middle of a layer norm."""
        return self._op.mvn(x, self._vector([-1]), True, eps, "inside_sqrt")

    def attention(self, query: Node, key: Node, value: Node, *, bias: Node, scale: float) -> Node:
        """softmax(query keyᵀ scale + bias) value, each (batch, heads, length, width)."""
        return self._op.scaled_dot_product_attention(query, key, value, bias, np.float32(scale))

    def unit(self, x: Node) -> Node:
        """Rows of unit length; zeros stay zeros."""
        return self._op.normalize_l2(x, self._vector([-1]), 1e-24, "max")

    def model(self, output: Node, name: str) -> Any:
        """The `openvino.Model` from the inputs to one output of that name."""
        ov = openvino()

        result = self._op.result(output)
        result.output(0).get_tensor().set_names({name})
        return ov.Model([result], self.inputs, "encoder")

    def _scalar(self, value: int) -> Node:
        return self._op.constant(np.int32(value))

    def _vector(self, values: Sequence[int]) -> Node:
        return self._op.constant(np.array(values, dtype=np.int32))
