"""Padding and cropping by amounts that the graph computes, in standard ONNX (models/sizes.py says why)."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from natdeploy.onnx_files.nodes import constants_into, replace_node
from natdeploy.onnx_files.tracing import CROP_LIKE, PAD_TO_EXTENTS, PAD_TO_MULTIPLE
from natdeploy.ops.onnx_nodes import NodeBuilder
from natdeploy.ops.spec import DOMAIN


def write_shape_ops(model: ir.Model) -> None:
    """Replace every traced padding and cropping node of our domain by standard ONNX, in place."""
    writers: dict[str, Callable[[NodeBuilder, ir.Node], ir.Value]] = {
        PAD_TO_EXTENTS: _pad_to_extents,
        PAD_TO_MULTIPLE: _pad_to_multiple,
        CROP_LIKE: _crop_like,
    }
    for node in list(model.graph):
        if node.domain == DOMAIN and node.op_type in writers:
            op = NodeBuilder(constants_into(model.graph))
            replace_node(node, op.nodes, lambda op=op, node=node: writers[node.op_type](op, node))  # type: ignore[misc]


def _pad_to_extents(op: NodeBuilder, node: ir.Node) -> ir.Value:
    """``pads = max(extents - size, 0)`` at the end of axes 1 and 2 of ``[B, H, W, C]``."""
    x, extents = node.inputs[0], node.attributes["extents"].as_ints()
    missing = op.Max(op.Sub(op.constant(extents), op.Shape(x, start=1, end=3)), op.constant([0]))
    return _padded_at_end(op, x, missing, before=1, after=1)


def _pad_to_multiple(op: NodeBuilder, node: ir.Node) -> ir.Value:
    """``pads = -size mod multiple`` at the end of two axes."""
    x, first = node.inputs[0], node.attributes["first_axis"].as_int()
    multiple = op.constant([node.attributes["multiple"].as_int()])
    # Mod of a negative int64 takes the divisor's sign (fmod=0), as in Python.
    missing = op.Mod(op.Neg(op.Shape(x, start=first, end=first + 2)), multiple)
    return _padded_at_end(op, x, missing, before=first, after=4 - 2 - first)


def _padded_at_end(op: NodeBuilder, x: ir.Value | None, amounts: ir.Value, before: int, after: int) -> ir.Value:
    """Pad two axes at their end; ``before`` and ``after`` count the axes around them."""
    zeros = op.constant([0] * 4)
    padded: ir.Value = op.Pad(
        x, op.Concat(zeros, op.constant([0] * before), amounts, *([op.constant([0] * after)] if after else []), axis=0)
    )
    return padded


def _crop_like(op: NodeBuilder, node: ir.Node) -> ir.Value:
    x, like = node.inputs
    cropped: ir.Value = op.Slice(x, op.constant([0, 0]), op.Shape(like, start=1, end=3), op.constant([1, 2]))
    return cropped
