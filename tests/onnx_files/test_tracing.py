"""Tracing what no published model needs: NATTEN's functional form of the op."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from ops.cases import Case
from ops.onnx_models import run_onnxruntime

from natdeploy.models import ModelConfig
from natdeploy.onnx_files.forms import convert_form
from natdeploy.onnx_files.tracing import graph_from_model
from natdeploy.ops import torch_op as torch_op  # registers torch.ops.natdeploy
from natdeploy.ops.spec import OP_TOLERANCE, SPLIT


class _SplitAttention(torch.nn.Module):
    """The channels of an image, taken as query, key and value of some heads."""

    config = ModelConfig("nat", "nat", 8, (1,), (1,), ((1,),))

    def __init__(self, case, rpb):
        super().__init__()
        self.case, self.rpb = case, rpb

    def forward(self, pixel_values, outputs, probe):
        x = pixel_values.permute(0, 2, 3, 1).unflatten(-1, (3, self.case.heads, self.case.head_dim))
        query, key, value = x.unbind(3)
        n = self.case.neighborhood
        causal = [int(c) for c in n.is_causal]
        attend = torch.ops.natdeploy.neighborhood_attention
        return {"out": attend(query, key, value, self.rpb, n.kernel_size, n.dilation, n.stride, causal, n.scale)}


@pytest.mark.parametrize("has_rpb", [True, False])
def test_query_key_value_and_bias_are_traced_in_this_order(has_rpb):
    case = Case((9, 12), (3, 5), (2, 1), has_rpb=has_rpb, batch=2, heads=2, head_dim=4)
    tensors = case.tensors()
    rpb = None if tensors.rpb is None else torch.nn.Parameter(torch.from_numpy(tensors.rpb))
    model = graph_from_model(_SplitAttention(case, rpb), ["out"], ["batch", 24, 9, 12])
    (node,) = (node for node in model.graph if node.domain)
    assert node.op_type == SPLIT and len(node.inputs) == 3 + has_rpb
    convert_form(model, "hybrid", "a test model")
    pixels = np.ascontiguousarray(tensors.packed().transpose(0, 3, 1, 2))
    found = run_onnxruntime(ir.to_proto(model), {"pixel_values": pixels})
    assert np.abs(found - case.expected()).max() <= OP_TOLERANCE["float32"]
