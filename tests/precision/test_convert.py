"""The typed graph: what ONNX's own type inference says of it, and graphs that natdeploy did not write."""

import json

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_files.exported import exported
from precision.small import ATTENTION, ir_model, proto_model

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.export import onnx_from_checkpoint
from natdeploy.onnx_files.files import read_onnx
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.ops.spec import DOMAIN
from natdeploy.precision.convert import convert_precision

FLOAT, FLOAT16, BFLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
HALVES = {"fp16": FLOAT16, "bf16": BFLOAT16}
SIZES = {"fixed": {"image_size": (64, 96)}, "free": {"dynamic_size": (32, 256)}}


def converted(model: ir.Model, precision: str = "fp16", keep: tuple[str, ...] = ()) -> onnx.ModelProto:
    convert_precision(model, precision, "small.onnx", keep)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Types by ONNX's inference alone: what the file says of inner tensors is dropped first.

    Nodes of our operator are the exception: the plugin form has nothing to infer them from.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    ours = {name for node in model.graph.node if node.domain == DOMAIN for name in node.output}
    said = [value for value in model.graph.value_info if value.name in ours and not model.functions]
    del bare.graph.value_info[:]
    bare.graph.value_info.extend(said)
    bare = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    graph = bare.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return {**types, **{weight.name: weight.data_type for weight in graph.initializer}}


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("form", ["hybrid", "plugin", "portable"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["hf_nat", "shi_dinat_s_odd"])
def test_every_tensor_has_the_type_that_the_policy_says(name, size, form, precision):
    source = exported(name, ExportSettings(form=form, **SIZES[size]))
    model = converted(read_onnx(source), precision)
    types, half = types_of(model), HALVES[precision]
    (document,) = (json.loads(entry.value) for entry in model.metadata_props)
    assert document["precision"]["weights"] == {"fp16": "float16", "bf16": "bfloat16"}[precision]
    told = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    assert told.items() <= types.items()
    assert {types[value.name] for value in (*model.graph.input, *model.graph.output)} == {FLOAT}
    kinds = {}
    for node in model.graph.node:
        floats = [types[i] for i in node.input if types[i] in (FLOAT, half)]
        if floats and node.op_type not in ("Cast", "CastLike", "Shape"):
            kinds.setdefault(node.op_type, []).append((*floats, types[node.output[0]]))
    for op_type in ("LayerNormalization", "ReduceMean", "Gemm", *(["Softmax"] if form == "portable" else [])):
        assert {kind for types in kinds[op_type] for kind in types} == {FLOAT}, op_type
    for op_type in ("Conv", "Gelu"):
        assert {kind for types in kinds[op_type] for kind in types} == {half}, op_type
    # Two products of attention are float32 in each layer of a portable file; what multiplies weights is half.
    layers = len(kinds["Gelu"])
    products = [types for types in kinds["MatMul"] if set(types) == {FLOAT}]
    assert len(products) == (2 * layers if form == "portable" else 0)
    assert {kind for types in kinds["MatMul"] if types not in products for kind in types} == {half}
    if form != "portable":
        assert set(kinds["PackedNeighborhoodAttention"]) == {(half, FLOAT, half)}


@pytest.mark.parametrize("precision", HALVES)
def test_the_function_calculates_in_float32(precision):
    model = converted(read_onnx(exported("hf_nat", ExportSettings(**SIZES["fixed"]))), precision)
    assert len(model.functions) == 1
    assert {(i.domain, i.version) for i in model.functions[0].opset_import} <= {
        (i.domain, i.version) for i in model.opset_import
    }
    inlined = onnx.inliner.inline_local_functions(model)
    types = types_of(inlined)
    softmaxes = [node for node in inlined.graph.node if node.op_type == "Softmax"]
    assert {types[name] for node in softmaxes for name in (*node.input, *node.output)} == {FLOAT}
    by_output = {name: node for node in inlined.graph.node for name in node.output}
    for softmax in softmaxes:
        scores = by_output[by_output[softmax.input[0]].input[0]]
        (after,) = (node for node in inlined.graph.node if softmax.output[0] in node.input)
        assert scores.op_type == after.op_type == "MatMul"
        assert {types[name] for node in (scores, after) for name in (*node.input, *node.output)} == {FLOAT}


def test_names_and_their_order_stay():
    path = exported("hf_dinat_backbone", ExportSettings(form="portable", **SIZES["free"]))
    before, after = ir.to_proto(read_onnx(path)), converted(read_onnx(path))
    for values in ("input", "output"):
        names = [[value.name for value in getattr(model.graph, values)] for model in (before, after)]
        assert names[0] == names[1] != []
    produced = {name for node in after.graph.node for name in node.output}
    assert {name for node in before.graph.node for name in node.output} <= produced
    assert [w.name for w in before.graph.initializer if w.dims] and {w.name for w in before.graph.initializer} <= {
        w.name for w in after.graph.initializer
    }


def test_the_same_bytes_again_and_the_source_untouched():
    source = read_onnx(exported("hf_nat", ExportSettings(**SIZES["fixed"])))
    before = ir.to_proto(source).SerializeToString(deterministic=True)
    first, second = source.clone(), source.clone()
    for model in (first, second):
        convert_precision(model, "bf16", "m")
    texts = {ir.to_proto(model).SerializeToString(deterministic=True) for model in (first, second)}
    assert len(texts) == 1
    assert ir.to_proto(source).SerializeToString(deterministic=True) == before


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("precision", HALVES)
def test_attention_of_others(precision):
    constants = {
        "scale": np.float32(0.5),
        "mask": np.array([[0, -1e9], [0, 0]], np.float32),  # beyond float16, and inside of attention
        "w": np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32),
    }
    model = ir_model(ATTENTION, constants)
    report = convert_precision(model, precision, "small.onnx")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    types = types_of(proto)
    assert report.out_of_range == ()
    assert (types["mask"], types["w"], types["attended"]) == (FLOAT, HALVES[precision], FLOAT)
    x = np.random.default_rng(1).standard_normal((3, 2, 4)).astype(np.float32)
    expected = run(proto_model(ATTENTION, constants), x)
    assert 0 < np.abs(run(proto, x) - expected).max() < {"fp16": 1e-2, "bf16": 1e-1}[precision]


def test_what_is_named_stays_float32():
    model = ir_model("a = Add (x, bias)\nb = Relu (a)\ny = Add (b, bias)")
    report = convert_precision(model, "fp16", "small.onnx", ["b"])
    types = types_of(ir.to_proto(model))
    assert (types["a"], types["b"], types["y.float16"]) == (FLOAT16, FLOAT, FLOAT16)
    assert report.asked_for == ("b",)
    assert (report.half_nodes, report.casts) == (2, 4)


def test_numbers_are_moved_in_the_type_in_which_they_come():
    text = "a = Add (x, bias)\nb = Exp (a)\nc = Concat <axis = 1> (a, b)\nd = Slice (c, axis, end)\ny = Identity (d)"
    model = converted(ir_model(text, {"end": np.array([3])}, y=("M", 4, 4)))
    types = types_of(model)
    assert (types["a"], types["b"], types["c"], types["y"]) == (FLOAT16, FLOAT, FLOAT, FLOAT)
    model = converted(ir_model("a = Transpose <perm = 0 1 2> (x)\nb = Add (a, bias)\ny = Transpose <perm = 0 1 2> (b)"))
    types = types_of(model)
    assert (types["a"], types["b"], types["y.float16"]) == (FLOAT, FLOAT16, FLOAT16)


def test_a_weight_of_two_types_is_stored_twice():
    model = converted(ir_model("a = Add (x, bias)\nb = Exp (a)\nc = Add (b, bias)\nd = Softmax (c)\ny = Mul (a, d)"))
    assert {w.name: w.data_type for w in model.graph.initializer} == {"bias": FLOAT, "bias.float16": FLOAT16}


def test_new_names_do_not_take_old_ones():
    model = converted(ir_model("x.float16 = Exp (x)\ny = Add (x, x.float16)"))
    x = np.random.default_rng(0).standard_normal((1, 2, 4)).astype(np.float32)
    assert np.abs(run(model, x) - (x + np.exp(x))).max() < 1e-2


def test_a_tensor_is_cast_once():
    model = converted(ir_model("a = Relu (x)\nb = Exp (a)\nc = Log (a)\nd = Add (b, c)\ny = Mul (d, a)"))
    casts = [node.input[0] for node in model.graph.node if node.op_type == "Cast"]
    assert sorted(casts) == ["a", "b", "c", "x", "y.float16"]


def test_casts_take_what_comes():
    model = converted(ir_model("a = Relu (x)\nb = Cast <to = 1> (a)\nc = Exp (b)\ny = Softmax (c)"))
    assert [node.input[0] for node in model.graph.node if node.op_type == "Cast"] == ["x", "a"]


def test_constants_beyond_the_range_keep_their_node():
    constants = {"far": np.float32(1e6)}
    model = ir_model("a = Add (x, bias)\nb = Min (a, far)\ny = Relu (b)", constants)
    report = convert_precision(model, "fp16", "small.onnx")
    assert report.out_of_range == (("far", 1e6),)
    types = types_of(ir.to_proto(model))
    assert (types["a"], types["far"], types["b"]) == (FLOAT16, FLOAT, FLOAT)
    assert report.for_metadata()["kept_float32"] == ["far (up to 1e+06)"]


def test_constant_nodes_are_looked_at_and_cast():
    proto = proto_model("a = Add (x, bias)\nb = Mul (a, c)\ny = Relu (b)", {"c": np.float32(2)})
    del proto.graph.initializer[[w.name for w in proto.graph.initializer].index("c")]
    constant = onnx.helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.float32(2)))
    proto.graph.node.insert(0, constant)
    types = types_of(converted(ir.from_proto(proto)))
    assert (types["c"], types["c.float16"], types["b"]) == (FLOAT, FLOAT16, FLOAT16)
    constant.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.float32(1e6)))
    proto.graph.node[0].CopyFrom(constant)
    model = ir.from_proto(proto)
    assert convert_precision(model, "fp16", "m").out_of_range == (("c", 1e6),)


@pytest.mark.parametrize(
    ("text", "precision", "message"),
    [
        ("a = Cast <to = 10> (x)\ny = Cast <to = 1> (a)", "fp16", "it has float16 tensors already"),
        ("a = Relu (x)\ny = GroupNormalization <num_groups = 1> (a, two, two)", "bf16", "something else in opset 22"),
        ("y = Relu (x)", "fp8", "there is no precision 'fp8'. Needed: fp16, bf16"),
    ],
)
def test_what_cannot_be_converted_is_refused(text, precision, message):
    with pytest.raises(NatdeployError) as refused:
        convert_precision(ir_model(text, {"two": np.ones(1, np.float32)}), precision, "small.onnx")
    assert message in str(refused.value)


def test_old_opsets_are_refused():
    for precision, opset in (("fp16", 12), ("bf16", 19)):
        model = ir.from_proto(proto_model("y = Relu (x)", opset=opset))
        with pytest.raises(NatdeployError, match=f"it is of opset {opset}, and .*float16 needs {opset + 1} or newer"):
            convert_precision(model, precision, "small.onnx")


def test_control_flow_is_refused():
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["b"])], "b", [], [onnx.helper.make_tensor_value_info("b", FLOAT, None)]
    )
    proto = proto_model("c = IsNaN (x)\ny = Relu (x)")
    proto.graph.node[1].CopyFrom(onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    with pytest.raises(NatdeployError, match=r"control flow \(If\)"):
        convert_precision(ir.from_proto(proto), "fp16", "small.onnx")


def test_unknown_types_are_refused():
    proto = proto_model("a = Relu (x)\ny = Relu (a)")
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "other", "Thing"
    del proto.graph.value_info[:]
    with pytest.raises(NatdeployError, match=r"types of 1 tensors in 'small.onnx'. Got: a"):
        convert_precision(ir.from_proto(proto), "fp16", "small.onnx")


def test_settings_refuse_an_unknown_precision(tmp_path):
    from onnx_files.exported import golden_checkpoint

    with pytest.raises(NatdeployError, match="precision 'int8' is none of fp32, fp16, bf16"):
        onnx_from_checkpoint(golden_checkpoint("hf_nat"), tmp_path / "m.onnx", ExportSettings(precision="int8"))
