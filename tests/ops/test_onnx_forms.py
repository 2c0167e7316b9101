"""The ONNX function and the portable form against the float64 reference, in runtimes that we did not write."""

import importlib.metadata

import numpy as np
import onnx_ir as ir
import pytest
from ops.cases import CASES, Case, select
from ops.onnx_models import feeds, run_onnxruntime, run_reference_evaluator, single_node_model

from natdeploy.errors import NatdeployError
from natdeploy.ops.spec import DOMAIN, OP_TOLERANCE, OPERATORS, PACKED, SPLIT

PLAIN = select(strided=False, causal=False)
REFUSED = [case for case in CASES if case.is_strided or case.causal]
FORMS = ("hybrid", "portable")
FEW = [case for case in PLAIN if np.prod(case.extents) < 400][::3]


def _error(case: Case, output: np.ndarray, dtype: str = "float32") -> float:
    expected = case.expected(dtype)
    assert output.dtype == (np.float16 if dtype == "float16" else np.float32) or dtype == "bfloat16"
    assert output.size == expected.size
    return float(np.abs(output.astype(np.float64).reshape(expected.shape) - expected).max(initial=0.0))


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("op_type", [PACKED, SPLIT])
@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_onnxruntime_agrees_with_the_reference(case, op_type, form, free):
    model = single_node_model(case, op_type, form, free=free)
    output = run_onnxruntime(model, feeds(case, op_type))
    assert _error(case, output) <= OP_TOLERANCE["float32"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("op_type", [PACKED, SPLIT])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_float16_in_and_out_is_computed_in_float32(case, op_type, form):
    model = single_node_model(case, op_type, form, dtype="float16")
    output = run_onnxruntime(model, feeds(case, op_type, "float16"))
    assert output.dtype == np.float16
    assert _error(case, output, "float16") <= OP_TOLERANCE["float16"]


@pytest.mark.parametrize("form", FORMS)
def test_float16_scores_do_not_overflow(form):
    """q*k reaches 1e6, far over float16's 65504; the softmax of it is finite all the same."""
    case = Case(extents=(6, 9), kernel_size=(3, 3), head_dim=16, has_rpb=True)
    inputs = feeds(case, PACKED, "float16")
    inputs["qkv"] = (inputs["qkv"].astype(np.float32) * 500).astype(np.float16)
    output = run_onnxruntime(single_node_model(case, PACKED, form, dtype="float16"), inputs)
    assert np.isfinite(output).all()
    assert np.abs(output).max() > 100


BFLOAT16 = pytest.param(
    "bfloat16",
    marks=pytest.mark.skipif(
        tuple(map(int, importlib.metadata.version("onnx").split(".")[:2])) < (1, 19),
        reason="onnx before 1.19: its reference evaluator does not know ml_dtypes' bfloat16",
    ),
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("op_type", [PACKED, SPLIT])
@pytest.mark.parametrize("dtype", ["float32", BFLOAT16])
@pytest.mark.parametrize("case", FEW[:4], ids=str)
def test_the_reference_evaluator_agrees_too(case, dtype, op_type, form):
    model = single_node_model(case, op_type, form, dtype=dtype)
    output = run_reference_evaluator(model, feeds(case, op_type, dtype))
    assert _error(case, output, dtype) <= OP_TOLERANCE[dtype]


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("op_type", [PACKED, SPLIT])
def test_no_node_is_without_use(op_type, form, free):
    model = single_node_model(next(case for case in PLAIN if case.has_rpb), op_type, form, free=free)
    bodies = [(f.node, set(f.output)) for f in model.functions] if form == "hybrid" else []
    bodies.append((model.graph.node, {output.name for output in model.graph.output}))
    assert len(bodies) == (2 if form == "hybrid" else 1)
    for nodes, wanted in bodies:
        used = wanted.union(*(node.input for node in nodes))
        assert [node.name for node in nodes if used.isdisjoint(node.output)] == []


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_rpb_is_used(form):
    case = next(c for c in PLAIN if c.has_rpb and c.rank == 2)
    output = run_onnxruntime(
        single_node_model(case, PACKED, form, rpb_constant=True), feeds(case, PACKED, rpb_constant=True)
    )
    assert _error(case, output) <= OP_TOLERANCE["float32"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_stride_and_causality_are_refused_with_a_reason(case, form):
    with pytest.raises(NatdeployError, match=r"stride > 1|causal windows"):
        single_node_model(case, SPLIT, form)


def test_the_plugin_form_carries_stride_and_causality():
    model = single_node_model(REFUSED[0], SPLIT, "plugin")
    assert [node.op_type for node in model.graph.node] == [SPLIT]
    assert not model.functions


@pytest.mark.parametrize("op_type", [PACKED, SPLIT])
def test_every_declared_attribute_is_on_the_node_and_in_the_function(op_type):
    case = next(c for c in PLAIN if c.rank == 2)
    model = single_node_model(case, op_type, "hybrid")
    declared = {a.name: a.type.name for a in OPERATORS[op_type].attributes}
    node = model.graph.node[0]
    assert {a.name: ir.AttributeType(a.type).name for a in node.attribute} == declared
    (function,) = model.functions
    assert (function.domain, function.name) == (DOMAIN, op_type)
    assert set(function.attribute) == set(declared)
    assert not {n.domain for n in function.node} - {""}  # standard ONNX only


@pytest.mark.parametrize("form", FORMS)
def test_portable_and_function_use_standard_operators_only(form):
    case = next(c for c in PLAIN if c.rank == 2)
    model = single_node_model(case, PACKED, "portable", free=form == "hybrid")
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]


def test_a_map_of_one_window_needs_no_gather_of_tokens():
    case = Case(extents=(5, 7), kernel_size=(5, 7), has_rpb=True)
    model = single_node_model(case, PACKED, "portable", rpb_constant=True)
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    assert len(gathers) == 4  # query, key and value out of qkv, and the bias
