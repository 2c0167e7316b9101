"""Padding and cropping by computed amounts, one node at a time, at many sizes: against numpy."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from ops.onnx_models import run_onnxruntime

from natdeploy.onnx_files.shape_ops import write_shape_ops
from natdeploy.onnx_files.tracing import CROP_LIKE, PAD_TO_EXTENTS, PAD_TO_MULTIPLE
from natdeploy.ops.onnx_nodes import IR_VERSION, OPSET
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION

SIZES = [(1, 1), (4, 9), (5, 8), (7, 3), (8, 12), (13, 10)]


def model_of(op_type, inputs, **attributes):
    """One traced node, all axes free, written in standard ONNX."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in inputs]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * 4)
    node = helper.make_node(op_type, inputs, ["output"], name="node", domain=DOMAIN, **attributes)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    graph = helper.make_graph([node], "single_node", infos, [output])
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION))
    write_shape_ops(model)
    proto = ir.to_proto(model)
    assert not [node for node in proto.graph.node if node.domain]
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(model, **inputs):
    """Run in both runtimes; they must give the same."""
    found = run_onnxruntime(model, inputs)
    np.testing.assert_array_equal(ReferenceEvaluator(model).run(None, inputs)[0], found)
    return found


def image(height, width, batch=2, channels=3):
    return np.random.default_rng([height, width]).standard_normal((batch, height, width, channels), np.float32)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("extents", [(5, 9), (9, 5), (1, 1)], ids=str)
def test_map_is_padded_at_the_bottom_and_right_to_the_window(extents, size):
    x = image(*size)
    found = run(model_of(PAD_TO_EXTENTS, ["x"], extents=extents), x=x)
    amounts = [max(0, extent - has) for extent, has in zip(extents, size, strict=True)]
    np.testing.assert_array_equal(found, np.pad(x, [(0, 0), (0, amounts[0]), (0, amounts[1]), (0, 0)]))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("multiple", [2, 4, 7])
def test_map_is_padded_to_a_multiple(multiple, size):
    x = image(*size)
    found = run(model_of(PAD_TO_MULTIPLE, ["x"], multiple=multiple, first_axis=1), x=x)
    height, width = (-has % multiple for has in size)
    np.testing.assert_array_equal(found, np.pad(x, [(0, 0), (0, height), (0, width), (0, 0)]))
    assert found.shape[1] % multiple == found.shape[2] % multiple == 0


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_image_is_padded_to_whole_patches(size):
    x = image(*size).transpose(0, 3, 1, 2)
    found = run(model_of(PAD_TO_MULTIPLE, ["x"], multiple=4, first_axis=2), x=x)
    height, width = (-has % 4 for has in size)
    np.testing.assert_array_equal(found, np.pad(x, [(0, 0), (0, 0), (0, height), (0, width)]))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_crop_keeps_the_top_left(size):
    x, like = image(13, 12), image(*size, channels=5)
    found = run(model_of(CROP_LIKE, ["x", "like"]), x=x, like=like)
    np.testing.assert_array_equal(found, x[:, : size[0], : size[1]])
