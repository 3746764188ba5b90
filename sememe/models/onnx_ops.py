"""The operations that graphs are made of, as nodes of ONNX: the same vocabulary as `openvino_ops`.

Large arrays stay out of the protobuf, which holds 2 GB at most: `model` gives them beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Node: TypeAlias = Any
OPSET = 20
LARGE = 1024
"""Bytes from which an array is kept beside the graph."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A serialised graph, and the arrays that its large initializers stand for, by name."""

    graph: bytes
    arrays: dict[str, npt.NDArray[Any]]


class OnnxOps:
    """Makes nodes; each is named by its output."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._inputs: list[Any] = []

    def _node(self, kind: str, *inputs: Node, outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        names = [f"n{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: npt.ArrayLike) -> Node:
        """An array that is known now."""
        from onnx import TensorProto, helper, numpy_helper

        array = np.ascontiguousarray(array).reshape(np.shape(array))  # a scalar stays one
        name = f"c{len(self._initializers)}"
        if array.nbytes < LARGE:
            tensor = numpy_helper.from_array(array, name)
        else:
            tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="given")
            self._arrays[name] = array
        self._initializers.append(tensor)
        return name

    def input(self, name: str, rank: int) -> Node:
        """An int32 array that comes with every call."""
        from onnx import TensorProto, helper

        axes = ("batch", "length")[:rank]
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.INT32, axes))
        return name

    def size(self, x: Node, axis: int) -> Node:
        """The length of an axis, a scalar."""
        shape = self.convert(self._node("Shape", x), "i32")
        return self._node("Gather", shape, self._scalar(axis))

    def count_to(self, size: Node) -> Node:
        """0, 1, … below a scalar: (size,) int32."""
        return self._node("Range", self._scalar(0), size, self._scalar(1))

    def gather(self, table: Node, rows: Node, axis: int = 0) -> Node:
        """The rows of a table."""
        return self._node("Gather", table, rows, axis=axis)

    def add(self, a: Node, b: Node) -> Node:
        """a + b."""
        return self._node("Add", a, b)

    def subtract(self, a: Node, b: Node) -> Node:
        """a - b."""
        return self._node("Sub", a, b)

    def multiply(self, a: Node, b: Node) -> Node:
        """a * b."""
        return self._node("Mul", a, b)

    def divide(self, a: Node, b: Node) -> Node:
        """a / b."""
        return self._node("Div", a, b)

    def minimum(self, a: Node, b: Node) -> Node:
        """The smaller one."""
        return self._node("Min", a, b)

    def maximum(self, a: Node, b: Node) -> Node:
        """The greater one."""
        return self._node("Max", a, b)

    def less(self, a: Node, b: Node) -> Node:
        """a < b."""
        return self._node("Less", a, b)

    def equal(self, a: Node, b: Node) -> Node:
        """a == b."""
        return self._node("Equal", a, b)

    def both(self, a: Node, b: Node) -> Node:
        """a and b."""
        return self._node("And", a, b)

    def select(self, condition: Node, a: Node, b: Node) -> Node:
        """a where the condition holds, else b."""
        return self._node("Where", condition, a, b)

    def convert(self, x: Node, kind: str) -> Node:
        """As "f32" or "i32"."""
        from onnx import TensorProto

        return self._node("Cast", x, to={"f32": TensorProto.FLOAT, "i32": TensorProto.INT32}[kind])

    def product(self, x: Node, matrix: npt.NDArray[np.float32]) -> Node:
        """x times a matrix (out, in) that is known now."""
        return self._node("MatMul", x, self.constant(matrix.T))

    def combined(self, a: Node, b: Node) -> Node:
        """The matrix product of two nodes."""
        return self._node("MatMul", a, b)

    def reshape(self, x: Node, sizes: Sequence[int]) -> Node:
        """Another shape; 0 keeps an axis, -1 takes the rest."""
        return self._node("Reshape", x, self._vector(sizes))

    def transpose(self, x: Node, order: Sequence[int]) -> Node:
        """The axes in another order."""
        return self._node("Transpose", x, perm=list(order))

    def unsqueeze(self, x: Node, axis: int) -> Node:
        """One more axis, of length 1."""
        return self._node("Unsqueeze", x, self._vector([axis]))

    def total(self, x: Node, axis: int) -> Node:
        """The sum along an axis, which goes."""
        return self._node("ReduceSum", x, self._vector([axis]), keepdims=0)

    def highest(self, x: Node, axis: int) -> Node:
        """The maximum along an axis, which goes."""
        return self._node("ReduceMax", x, self._vector([axis]), keepdims=0)

    def mean_kept(self, x: Node, axis: int) -> Node:
        """The mean along an axis, which stays with length 1."""
        return self._node("ReduceMean", x, self._vector([axis]), keepdims=1)

    def running_total(self, x: Node, axis: int) -> Node:
        """The sum up to and including each place."""
        return self._node("CumSum", x, self._scalar(axis))

    def split(self, x: Node, sizes: Sequence[int]) -> list[Node]:
        """The last axis in pieces."""
        parts: list[Node] = self._node("Split", x, self._vector(sizes), outputs=len(sizes), axis=-1)
        return parts

    def join(self, parts: Sequence[Node]) -> Node:
        """Pieces along the last axis."""
        return self._node("Concat", *parts, axis=-1)

    def apply(self, function: str, x: Node) -> Node:
        """A function of each number: gelu, gelu_tanh, silu, relu, tanh, sigmoid, sqrt, log, identity."""
        if function == "identity":
            return x
        if function == "silu":
            return self.multiply(x, self._node("Sigmoid", x))
        if function.startswith("gelu"):
            return self._node("Gelu", x, approximate="tanh" if function == "gelu_tanh" else "none")
        named = {"relu": "Relu", "tanh": "Tanh", "sqrt": "Sqrt", "sigmoid": "Sigmoid", "log": "Log"}
        return self._node(named[function], x)

    def centred(self, x: Node, eps: float) -> Node:
        """Mean 0 and variance 1 along the last axis: the middle of a layer norm."""
        middle = self.subtract(x, self.mean_kept(x, -1))
        variance = self.mean_kept(self.multiply(middle, middle), -1)
        return self.divide(middle, self._node("Sqrt", self.add(variance, self.constant(np.float32(eps)))))

    def attention(self, query: Node, key: Node, value: Node, *, bias: Node, scale: float) -> Node:
        """softmax(query keyᵀ scale + bias) value, each (batch, heads, length, width)."""
        scaled = self.multiply(query, self.constant(np.float32(scale)))
        scores = self.add(self._node("MatMul", scaled, self.transpose(key, (0, 1, 3, 2))), bias)
        return self._node("MatMul", self._node("Softmax", scores, axis=-1), value)

    def unit(self, x: Node) -> Node:
        """Rows of unit length; zeros stay zeros."""
        length = self._node("ReduceL2", x, self._vector([-1]), keepdims=1)
        return self.divide(x, self.maximum(length, self.constant(np.float32(1e-12))))

    def model(self, output: Node, name: str) -> OnnxModel:
        """The graph from the inputs to one output of that name."""
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [output], [name]))
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "encoder", self._inputs, [result], self._initializers)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        return OnnxModel(made.SerializeToString(), self._arrays)

    def _scalar(self, value: int) -> Node:
        return self.constant(np.array(value, dtype=np.int32))

    def _vector(self, values: Sequence[int]) -> Node:
        return self.constant(np.array(values, dtype=np.int64))
