"""Golden op cases (natten 0.17.1) through ONNX Runtime, both op types, both forms, fixed and free sizes."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from golden import GOLDEN
from onnx import TensorProto, helper
from ops.onnx_models import run_onnxruntime

from natdeploy.onnx_files.forms import convert_form
from natdeploy.ops.spec import DOMAIN, PACKED, SPLIT, Neighborhood

ARRAYS = np.load(GOLDEN / "na2d_rpb.npz")


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("form", ["hybrid", "portable"])
@pytest.mark.parametrize("op_type", [PACKED, SPLIT])
@pytest.mark.parametrize("number", range(7))
def test_golden_case(number, op_type, form, free):
    batch, height, width, heads, head_dim, kernel, dilation, has_rpb = (int(x) for x in ARRAYS[f"{number}_meta"])
    query, key, value = (ARRAYS[f"{number}_{name}"] for name in ("query", "key", "value"))
    if op_type == PACKED:
        inputs = {"qkv": np.stack([query, key, value], 3).reshape(batch, height, width, 3 * heads * head_dim)}
    else:
        inputs = {"query": query, "key": key, "value": value}
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "h", "w", *x.shape[3:]] if free else list(x.shape))
        for name, x in inputs.items()
    ]
    if has_rpb:
        inputs["rpb"] = ARRAYS[f"{number}_rpb"]
        infos.append(helper.make_tensor_value_info("rpb", TensorProto.FLOAT, list(inputs["rpb"].shape)))
    neighborhood = Neighborhood.of((kernel, kernel), head_dim**-0.5, (dilation, dilation))
    attributes = neighborhood.node_attributes(heads if op_type == PACKED else None)
    node = helper.make_node(op_type, list(inputs), ["output"], domain=DOMAIN, **attributes)
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * (4 if op_type == PACKED else 5))
    graph = helper.make_graph([node], "golden", infos, [output])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    convert_form(model, form, "a golden case")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    found = run_onnxruntime(proto, inputs)
    assert np.abs(found.reshape(query.shape) - ARRAYS[f"{number}_out"]).max() <= 2e-5
