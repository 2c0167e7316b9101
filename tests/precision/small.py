"""Small graphs that natdeploy did not write, from a line per node."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir

_KNOWN = {
    "w": np.eye(4, dtype=np.float32),
    "shape": np.array([0, 2, 4]),
    "axis": np.array([1]),
    "bias": np.full(4, 0.5, np.float32),
}


def proto_model(
    text: str, constants: dict[str, np.ndarray] | None = None, opset: int = 20, **shapes
) -> onnx.ModelProto:
    """Make a model of ``x`` ``[N, 2, 4]`` to ``y``.

    Args:
        text: Nodes as ``output = Operator <attribute = value> (inputs)``.
        constants: By name; ``w`` is 4x4, names with a dot are square weights or biases.
        opset: Of the standard operators.
        shapes: Of ``x`` and ``y``, where they are others.
    """
    nodes = []
    for line in filter(None, map(str.strip, text.splitlines())):
        output, op_type, attributes, inputs = re.fullmatch(r"(\S+) = (\w+)(?: <(.*)>)? \((.*)\)", line).groups()
        pairs = (pair.split(" = ") for pair in filter(None, (attributes or "").split(", ")))
        values = {name: [*map(int, value.split())] if " " in value else int(value) for name, value in pairs}
        nodes.append(
            onnx.helper.make_node(op_type, inputs.split(", "), output.split(","), name=f"n_{output}", **values)
        )
    made = {output for node in nodes for output in node.output}
    weights = {}
    for name in (name for node in nodes for name in node.input):
        known = {**_KNOWN, **(constants or {})}
        array = known.get(name, _KNOWN["w" if name.endswith("weight") else "bias"])
        if name not in made | {"x"}:
            weights[name] = onnx.numpy_helper.from_array(array, name)
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes.get(name, ("N", 2, 4))) for name in "xy"
    )
    graph = onnx.helper.make_graph(nodes, "small", [x], [y], list(weights.values()))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def ir_model(text: str, constants: dict[str, np.ndarray] | None = None, **shapes) -> ir.Model:
    """Make the same as onnx-ir's model."""
    return ir.from_proto(proto_model(text, constants, **shapes))


ATTENTION = """
    qkv_product = MatMul (x, w)
    q = Reshape (qkv_product, shape)
    q_scaled = Mul (q, scale)
    keys = Transpose <perm = 0 2 1> (qkv_product)
    scores = MatMul (q_scaled, keys)
    biased = Add (scores, mask)
    weights = Softmax (biased)
    attended = MatMul (weights, qkv_product)
    projected = MatMul (attended, w)
    y = Add (projected, x)
"""


def attention_without_names() -> ir.Model:
    """Plain attention of two tokens with themselves, as other exporters write it."""
    return ir_model(ATTENTION, {"scale": np.float32(0.5), "mask": np.array([[0, -1e9], [0, 0]], np.float32)})
