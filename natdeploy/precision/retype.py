"""Giving every tensor of a graph its type: Casts where types meet, weights stored in the type of their users."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from natdeploy.ops.spec import SPLIT
from natdeploy.precision.policy import TYPELESS, is_attention
from natdeploy.precision.weights import Rounding, rounded


def typed_inputs(node: ir.Node) -> list[int]:
    """Number the inputs that must have the type in which a node works; of attention, the bias table is none."""
    if node.domain == "" and node.op_type in TYPELESS:
        return []
    if is_attention(node):
        return [0, 1, 2] if node.op_type == SPLIT else [0]
    return [i for i, value in enumerate(node.inputs) if value is not None]


class TypedGraph:
    """A float32 graph, some nodes of which are to work in a half type.

    Args:
        graph: The graph; values know their types, and none is half.
        half_nodes: The nodes that are to work in ``dtype``.
        dtype: The half type.

    Attributes:
        casts: How many Cast nodes were added.
        rounding: What became of the numbers of the weights that were converted.
    """

    def __init__(self, graph: ir.Graph, half_nodes: Collection[ir.Node], dtype: ir.DataType) -> None:
        self.casts, self.rounding = 0, Rounding()
        self._graph, self._half_nodes, self._dtype = graph, half_nodes, dtype
        self._twins: dict[ir.Value, ir.Value] = {}
        outputs = (output for node in graph for output in node.outputs)
        self._names = {value.name for value in (*graph.inputs, *graph.initializers.values(), *outputs)}

    def rewrite(self) -> None:
        """Do it, in place; graph inputs and outputs keep their types, and all names stay."""
        for node in list(self._graph):
            wanted = ir.DataType(self._dtype if node in self._half_nodes else ir.DataType.FLOAT)
            for i in typed_inputs(node):
                value = node.inputs[i]
                if value is not None and value.dtype in (ir.DataType.FLOAT, self._dtype) and value.dtype != wanted:
                    node.replace_input_with(i, self._twin(value, wanted, node))
            if wanted == self._dtype:
                for output in node.outputs:
                    if output.dtype == ir.DataType.FLOAT:
                        output.type = ir.TensorType(wanted)  # a new one: copies of a model share their types
        for i, output in enumerate(self._graph.outputs):
            if output.dtype == self._dtype:
                self._graph.outputs[i] = self._output(output)
        self._drop_unused_weights()

    def _twin(self, value: ir.Value, wanted: ir.DataType, user: ir.Node) -> ir.Value:
        """Give ``value`` in its other type: a stored weight, or a Cast before its first user."""
        if value not in self._twins:
            if value.is_initializer() and not value.is_graph_input():
                self._twins[value] = self._stored(value)
            else:
                cast = self._cast(value, wanted, self._free_name(value, wanted))
                user.prepend(cast)
                self._twins[value] = cast.outputs[0]
        return self._twins[value]

    def _stored(self, weight: ir.Value) -> ir.Value:
        assert weight.const_value is not None
        name = self._free_name(weight, self._dtype)
        array, rounding = rounded(np.asarray(weight.const_value.numpy(), np.float32), self._dtype)
        self.rounding += rounding
        half = ir.Value(name=name, const_value=ir.Tensor(array, dtype=self._dtype, name=name))
        half.shape, half.dtype = weight.shape, self._dtype
        self._graph.register_initializer(half)
        return half

    def _output(self, inner: ir.Value) -> ir.Value:
        """Cast an output to float32; the Cast takes over its name."""
        name = inner.name
        assert name is not None
        inner.name = self._free_name(inner, self._dtype)
        cast = self._cast(inner, ir.DataType.FLOAT, name)
        self._graph.append(cast)
        return cast.outputs[0]

    def _cast(self, value: ir.Value, to: ir.DataType, name: str) -> ir.Node:
        self.casts += 1
        node = ir.node("Cast", [value], {"to": to}, name=f"{name}/Cast")
        output = node.outputs[0]
        output.name, output.shape, output.dtype = name, value.shape, to
        return node

    def _free_name(self, value: ir.Value, dtype: ir.DataType) -> str:
        name = f"{value.name}.{dtype.numpy().name}"
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _drop_unused_weights(self) -> None:
        """Let a converted weight take the name of the original where nothing uses that any more."""
        for original, half in self._twins.items():
            if half.producer() is None and not original.consumers() and not original.is_graph_output():
                name = original.name
                assert name is not None and half.name is not None
                del self._graph.initializers[name], self._graph.initializers[half.name]
                half.name = name
                if half.const_value is not None:
                    half.const_value.name = name
                self._graph.register_initializer(half)
