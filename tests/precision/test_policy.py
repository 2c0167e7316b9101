"""Which nodes stay float32: the sets of operators against ONNX's schemas, the rules on small graphs."""

import onnx
import onnx_ir as ir
import pytest
from precision.small import attention_without_names, ir_model

from natdeploy.errors import NatdeployError
from natdeploy.precision.policy import (
    ATTENTION,
    CALCULATES,
    CLASSIFIER,
    MOVES,
    NORMALISATION,
    NORMS,
    OTHERS,
    SOFTMAX,
    SUMS,
    layers_of,
    nodes_named,
    nodes_of_policy,
    nodes_of_weights,
)

NEWER_THAN_13 = ("Gelu", "HardSwish", "Mish")


@pytest.mark.parametrize(
    ("opset", "type_name"), [(13, "tensor(float16)"), (20, "tensor(float16)"), (22, "tensor(bfloat16)")]
)
@pytest.mark.parametrize("op_type", sorted(CALCULATES | MOVES))
def test_onnx_has_each_operator_in_the_half_types(op_type, opset, type_name):
    newest = onnx.defs.get_schema(op_type, 22, "")
    schema = newest if opset < 20 and op_type in NEWER_THAN_13 else onnx.defs.get_schema(op_type, opset, "")
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    assert type_name in allowed[schema.outputs[0].type_str]
    assert type_name in allowed[schema.inputs[1 if op_type == "Where" else 0].type_str]


def reasons(text, probes=(), **shapes):
    model = ir_model(text, **shapes)
    return {node.outputs[0].name: reason for node, reason in nodes_of_policy(model, probes).items()}


def test_norms_softmax_sums_and_unknown_operators_stay():
    found = reasons(
        """
        a = LayerNormalization <axis = -1> (x, w)
        b = Softmax (a)
        c = ReduceMean <keepdims = 1> (b)
        d = Exp (c)
        e = Relu (d)
        y = Reshape (e, shape)
        """,
        y=("N", 2, 4),
    )
    assert found == {"a": NORMS, "b": SOFTMAX, "c": SUMS, "d": OTHERS}


def test_what_makes_the_models_input_from_pixels_stays():
    text = """
        a = Cast <to = 1> (x)
        b = Sub (a, bias)
        c = Mul (b, bias)
        normalised = Transpose <perm = 0 2 1> (c)
        e = Mul (normalised, scale)
        y = Relu (e)
        """
    of_pixels = dict.fromkeys(("a", "b", "c", "normalised"), NORMALISATION)
    assert reasons(text, ("normalised", "e"), y=("N", 2, 4)) == of_pixels
    assert reasons(text, ("e",), y=("N", 2, 4)) == {}  # another file's tensor of that name means nothing


def test_the_classifier_is_what_leads_to_a_flat_output():
    text = """
        a = MatMul (x, w)
        b = ReduceMean <keepdims = 0> (a, axis)
        c = Relu (b)
        d = MatMul (c, w)
        e = Add (d, bias)
        y = Identity (e)
        """
    expected = {"b": SUMS, "d": CLASSIFIER, "e": CLASSIFIER, "y": CLASSIFIER}
    assert reasons(text, y=("N", 4)) == expected
    assert reasons(text, y=("N", 2, 4)) == {"b": SUMS}


def test_attention_is_found_without_names():
    model = attention_without_names()
    found = {node.outputs[0].name: reason for node, reason in nodes_of_policy(model, ()).items()}
    inside = dict.fromkeys(["q", "keys", "q_scaled", "scores", "biased", "attended"], ATTENTION)
    assert {name: found.get(name) for name in inside} == inside
    assert found["weights"] == SOFTMAX
    assert not {"projected", "qkv_product"} & found.keys()


def test_a_probe_ends_attention():
    model = attention_without_names()
    found = {node.outputs[0].name for node in nodes_of_policy(model, ["q"])}
    assert "q_scaled" in found
    assert "q" not in found


def test_what_is_used_outside_of_attention_is_no_part_of_it():
    model = ir_model("a = Relu (x)\nb = Softmax (a)\nc = Relu (a)\ny = Add (b, c)")
    assert {node.outputs[0].name for node in nodes_of_policy(model, ())} == {"b"}


def test_a_node_belongs_to_the_next_probe():
    model = ir_model("a = Relu (x)\nb = Relu (a)\nc = Relu (b)\ny = Relu (c)")
    assert list(layers_of(model, ["a", "c"]).values()) == ["a", "c", "c", "y"]
    assert list(layers_of(model, ["c", "y"]).values()) == ["c", "c", "c", "y"]


def test_patterns_fit_layers_tensors_weights_and_nodes():
    model = ir_model("a = Relu (x)\nb = MatMul (a, w)\nc = Add (b, bias)\ny = Relu (c)")

    def named(*patterns):
        return {node.outputs[0].name: layer for node, layer in nodes_named(model, patterns, ["c", "y"]).items()}

    assert named("c") == dict.fromkeys("abc", "c")
    assert named("w") == {"b": "c"}
    assert named("bi*", "[y]") == {"c": "c", "y": "y"}
    model.graph[3].name = "last"
    assert named("last") == {"y": "y"}
    with pytest.raises(NatdeployError, match=r"no layer fits 'z', 'Y', 'bia'"):
        named("c", "z", "Y", "bia")


def test_a_weight_brings_the_others_of_its_layer():
    model = ir_model("a = MatMul (x, l.1.weight)\nb = Add (a, l.1.bias)\nc = Add (b, l.10.bias)\ny = Add (c, bias)")
    assert [n.outputs[0].name for n in nodes_of_weights(model, [model.graph.initializers["l.1.weight"]])] == ["a", "b"]
    assert [n.outputs[0].name for n in nodes_of_weights(model, [model.graph.initializers["bias"]])] == ["y"]
    assert not list(nodes_of_weights(model, []))


def test_shapes_are_not_numbers():
    model = ir_model("s = Shape (x)\na = Reshape (w, s)\nb = Softmax (a)\ny = Add (x, b)")
    assert isinstance(model, ir.Model)
    assert nodes_of_policy(model, ()) == {}
