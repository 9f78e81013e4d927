"""Nodes of an ONNX graph, written as arithmetic: `(x - mean) / std` is two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper


class Value:
    """A node's output. A Python number beside it becomes a constant, float64 or int64."""

    __array_ufunc__ = None  # numpy's numbers leave the arithmetic to this class

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any) -> Value:
        return self.graph.Add(self, other)

    def __sub__(self, other: Any) -> Value:
        return self.graph.Sub(self, other)

    def __mul__(self, other: Any) -> Value:
        return self.graph.Mul(self, other)

    def __truediv__(self, other: Any) -> Value:
        return self.graph.Div(self, other)

    def to(self, kind: int) -> Value:
        """Cast to one of `TensorProto`'s types; floats become integers towards zero."""
        return self.graph.Cast(self, to=kind)


class Graph:
    """Nodes in the making: `graph.Add(a, b)` appends one and returns its output.

    Every ONNX operator with one output is such a method; inputs are values, numbers and arrays.

    Args:
        prefix: begins all names, which keeps them apart from another graph's.

    Attributes:
        nodes, constants: for `onnx.helper.make_graph`.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self._constants: dict[tuple[Any, ...], TensorProto] = {}
        self._count = 0

    @property
    def constants(self) -> list[TensorProto]:
        return list(self._constants.values())

    def node(self, operator: str, *inputs: Any, output: str = "", **attributes: Any) -> Value:
        """Append a node; its output is named `output` where that is given."""
        self._count += 1
        output = output or f"{self.prefix}/{operator}_{self._count}"
        names = [self._name(each) for each in inputs]
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return Value(self, output)

    def __getattr__(self, operator: str) -> Callable[..., Value]:
        if not operator[0].isupper():
            raise AttributeError(operator)
        return lambda *inputs, **attributes: self.node(operator, *inputs, **attributes)

    def model(
        self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto], opset: int
    ) -> ModelProto:
        """The nodes as a model of its own."""
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(
            helper.make_graph(self.nodes, self.prefix, inputs, outputs, self.constants),
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
        )

    def _name(self, value: Any) -> str:
        if isinstance(value, Value):
            return value.name
        array = np.asarray(value)
        key = array.dtype, array.shape, array.tobytes()
        if key not in self._constants:
            name = f"{self.prefix}/constant_{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name
