"""ONNX models of a single attention node, in every form, and runtimes that we did not write to run them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from ops.cases import Case

from natdeploy.onnx_files.forms import convert_form
from natdeploy.ops.onnx_nodes import IR_VERSION, OPSET
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION, OPERATORS, PACKED

Array = npt.NDArray[Any]
ELEMENT = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def single_node_model(
    case: Case, op_type: str, form: str, *, free: bool = False, dtype: str = "float32", rpb_constant: bool = False
) -> onnx.ModelProto:
    """Build a checked model of one node.

    Args:
        case: Shapes and attributes.
        op_type: One of the two forms of the operator.
        form: ``hybrid``, ``plugin`` or ``portable``.
        free: Leave batch and extents free.
        dtype: Of the data tensors.
        rpb_constant: Make rpb an initializer, as in an exported model, instead of an input.
    """
    element = ELEMENT[dtype]
    batch_and_extents: list[int | str] = (
        ["batch", *(f"extent{i}" for i in range(case.rank))] if free else [case.batch, *case.extents]
    )
    channels = [3 * case.heads * case.head_dim] if op_type == PACKED else [case.heads, case.head_dim]
    names = [t.name for t in OPERATORS[op_type].inputs if case.has_rpb or t.name != "rpb"]
    inputs = [helper.make_tensor_value_info(n, element, [*batch_and_extents, *channels]) for n in names if n != "rpb"]
    initializers = []
    if case.has_rpb:
        if rpb_constant:
            initializers.append(onnx.numpy_helper.from_array(case.tensors().rpb, "rpb"))
        else:
            shape = [case.heads, *case.neighborhood.rpb_shape]
            inputs.append(helper.make_tensor_value_info("rpb", TensorProto.FLOAT, shape))
    attributes = case.neighborhood.node_attributes(case.heads if op_type == PACKED else None)
    node = helper.make_node(op_type, names, ["output"], name="attention", domain=DOMAIN, **attributes)
    out_channels = [case.heads * case.head_dim] if op_type == PACKED else channels
    output = helper.make_tensor_value_info("output", element, [*batch_and_extents, *out_channels])
    graph = helper.make_graph([node], "single_node", inputs, [output], initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION))
    convert_form(model, form, "a test model")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def feeds(case: Case, op_type: str, dtype: str = "float32", rpb_constant: bool = False) -> dict[str, Array]:
    """Inputs by name; bfloat16 by ml_dtypes, as onnx's reference evaluator takes it."""
    tensors = case.tensors_in(dtype)
    data = (
        {"qkv": tensors.packed()} if op_type == PACKED else dict(zip(("query", "key", "value"), tensors, strict=False))
    )
    found: dict[str, Array] = {name: np.ascontiguousarray(x).astype(_numpy_dtype(dtype)) for name, x in data.items()}
    if tensors.rpb is not None and not rpb_constant:
        found["rpb"] = tensors.rpb
    return found


def run_onnxruntime(model: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    """Run in a stock ONNX Runtime, with the optimizations that users get."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def run_reference_evaluator(model: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    """Run in onnx's own reference evaluator."""
    return ReferenceEvaluator(model).run(None, inputs)[0]


def _numpy_dtype(dtype: str) -> Any:
    if dtype == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(dtype)
