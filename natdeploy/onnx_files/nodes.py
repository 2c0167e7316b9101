"""Replacing nodes of an ONNX graph, by onnx-ir."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def constants_into(graph: ir.Graph) -> Callable[[npt.NDArray[Any]], ir.Value]:
    """Give a function that keeps arrays as initializers of ``graph``, equal ones once."""

    def initializer(array: npt.NDArray[Any]) -> ir.Value:
        content = np.array(array, order="C")  # ascontiguousarray would make scalars 1-D
        digest = hashlib.sha256(f"{content.dtype}{content.shape}".encode() + content.tobytes()).hexdigest()[:16]
        name = f"constant_{digest}"
        if name not in graph.initializers:
            graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(content, name=name)))
        return graph.initializers[name]

    return initializer


def replace_node(node: ir.Node, new_nodes: list[ir.Node], write: Callable[[], ir.Value]) -> None:
    """Put the nodes that ``write`` appends to ``new_nodes`` in ``node``'s place; its output keeps name and shape."""
    graph = node.graph
    assert graph is not None
    output, new_output = node.outputs[0], write()
    for i, new in enumerate(new_nodes):
        new.name = f"{node.name}/{new.op_type}_{i}"
        for value in new.outputs:
            value.name = f"{output.name}/{new.op_type}_{i}"
    new_output.name, new_output.shape, new_output.type = output.name, output.shape, output.type
    ir.convenience.replace_nodes_and_values(graph, node, [node], new_nodes, [output], [new_output])
