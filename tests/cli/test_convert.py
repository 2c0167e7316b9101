"""``natdeploy convert`` and ``export --precision``, every option, from a checkpoint to a file that runs and agrees."""

import json

import numpy as np
import onnx
import pytest
from command_line import (
    DATA,
    DIGITS,
    IMAGES,
    TORCH,
    digits_onnx,
    edit_weight,
    edited,
    one_paragraph,
    plugin_onnx,
    portable_onnx,
    run,
    run_process,
)

HALF = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
FULL = onnx.TensorProto.FLOAT


def metadata_of(path):
    (entry,) = (entry for entry in onnx.load(path).metadata_props if entry.key == "natdeploy")
    return json.loads(entry.value)


def types_of_weights(path):
    return {weight.name: weight.data_type for weight in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_converted_file_agrees_with_its_checkpoint(precision, tmp_path):
    target = tmp_path / "m.onnx"
    result = run("convert", digits_onnx(), "-o", target, "--precision", precision)
    assert result.status == 0, result.err
    assert result.out.splitlines()[0] == "converted digits.onnx"
    name = {"fp16": "float16", "bf16": "bfloat16"}[precision]
    assert f"  precision    {name}" in result.out
    assert "classifier; inside of attention (scores, bias, sums); norms; softmax; sums over pixels" in result.out
    assert result.err.splitlines()[-1] == f"Next: natdeploy verify {target} --checkpoint CHECKPOINT"
    assert ("lose digits; 0 of them became zero" in result.err) == (precision == "fp16")
    assert target.stat().st_size < 0.6 * digits_onnx().stat().st_size
    assert types_of_weights(target)["stages.0.blocks.0.attention.qkv.weight_transposed"] == HALF[precision]
    graph = onnx.load(target).graph
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {FULL}

    verified = run("verify", target, "--checkpoint", DIGITS, "--images", IMAGES[0].parent, "--layers")
    assert verified.status == 0, verified.out
    assert f"  tolerance  {'2.0e-02' if precision == 'fp16' else '2.5e-01'} of an output's" in verified.out
    assert ("ONNX Runtime" if precision == "fp16" else "reference evaluator") in verified.out
    assert "stage3.block1.attention" in verified.out
    assert "100.0 %" in verified.out
    guessed = run("infer", target, IMAGES[6], "--json")
    assert guessed.json[0]["guesses"][0]["label"] == "three"
    assert run("inspect", target, "--json").json["precision"]["weights"] == name


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_export_gives_what_convert_gives(precision, tmp_path):
    exported, converted = tmp_path / "a.onnx", tmp_path / "b.onnx"
    result = run("export", DIGITS, "-o", exported, "--precision", precision, "--keep-fp32", "stage1.*", "--json")
    assert result.json["precision"] == {"fp16": "float16", "bf16": "bfloat16"}[precision]
    assert (
        run("convert", digits_onnx(), "-o", converted, "--precision", precision, "--keep-fp32", "stage1.*").status == 0
    )
    assert exported.read_bytes() == converted.read_bytes()
    assert "stage1.block2.mlp" in metadata_of(exported)["precision"]["kept_float32"]


def test_a_half_precision_is_refused_where_it_contradicts_itself(tmp_path):
    result = run("export", DIGITS, "-o", tmp_path / "m.onnx", "--keep-fp32", "stage1.*")
    assert result.status == 2
    assert "--keep-fp32 is for --precision fp16 and bf16" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", [digits_onnx, plugin_onnx, portable_onnx])
def test_json_says_what_became_of_every_form(source, tmp_path):
    target = tmp_path / "m.onnx"
    result = run("convert", source(), "--output", target, "--json")
    found = result.json
    assert (found["file"], found["bytes"]) == (str(target), target.stat().st_size)
    assert found["precision"]["weights"] == "float16"
    assert found["precision"]["rounding"]["numbers"] == 312832
    assert found["precision"]["out_of_range"] == {}
    assert found["check"]["output"] == "logits"
    assert 0 < found["check"]["error"] < found["check"]["tolerance"] == 2e-2
    assert 1 < found["check"]["largest"] < found["check"]["limit"] == 65504
    assert metadata_of(target)["precision"]["weights"] == "float16"
    assert metadata_of(target)["form"] == metadata_of(source())["form"]


def test_layers_that_are_named_stay_float32(tmp_path):
    target = tmp_path / "m.onnx"
    patterns = ("--keep-fp32", "stage2.block1.mlp", "--keep-fp32", "stages.0.blocks.0.attention.qkv.*")
    result = run("convert", digits_onnx(), "-o", target, *patterns)
    assert "  as asked for  stage1.block1.qkv, stage2.block1.mlp" in result.out
    floats = {name for name, kind in types_of_weights(target).items() if kind == FULL and name.endswith("transposed")}
    assert floats == {
        "stages.0.blocks.0.attention.qkv.weight_transposed",
        "stages.1.blocks.0.attention.projection.weight_transposed",  # in front of the MLP, behind the attention
        "stages.1.blocks.0.mlp.0.weight_transposed",
        "stages.1.blocks.0.mlp.2.weight_transposed",
    }
    assert run("convert", digits_onnx(), "-o", target, "--keep-fp32", "stage1.*").status == 0
    one_paragraph(
        run("convert", digits_onnx(), "-o", tmp_path / "n.onnx", "--keep-fp32", "stage1.*", "--keep-fp32", "stage9.*"),
        "no layer fits 'stage9.*'",
        "inspect FILE --probes",
    )
    assert list(tmp_path.iterdir()) == [target]


def test_external_data_comes_and_goes(tmp_path):
    target, data = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    result = run("convert", digits_onnx(), "-o", target, "--external-data", "--json")
    assert result.json["bytes"] == target.stat().st_size + data.stat().st_size
    assert data.stat().st_size > 2 * 300_000 > target.stat().st_size
    assert run("verify", target, "--checkpoint", DIGITS).status == 0
    assert run("lower", target, "-o", target).status == 0
    assert list(tmp_path.iterdir()) == [target]
    assert run("verify", target, "--checkpoint", DIGITS).status == 0


def test_a_file_is_converted_once(tmp_path):
    target = tmp_path / "m.onnx"
    assert run("convert", digits_onnx(), "-o", target).status == 0
    before = target.read_bytes()
    one_paragraph(run("convert", target, "-o", target, "--precision", "bf16"), "it has float16 tensors already")
    assert target.read_bytes() == before


def dead_unit_of_100000(model):
    """Give one hidden unit of an MLP a weight that float16 cannot hold, and no effect: it never gets active."""

    def set_column(index, value):
        def change(array):
            array[index] = value

        return change

    layer = "stages.0.blocks.0.mlp"
    edit_weight(model, f"{layer}.0.weight_transposed", set_column((slice(None), 5), 0))
    edit_weight(model, f"{layer}.0.bias", set_column(5, -60))
    edit_weight(model, f"{layer}.2.weight_transposed", set_column((5, slice(None)), 1e5))


def test_weights_out_of_range_are_told_and_stay_float32_with_their_layer(tmp_path):
    source = edited(digits_onnx(), tmp_path / "wide.onnx", dead_unit_of_100000)
    result = run("convert", source, "-o", tmp_path / "m.onnx", "--json")
    assert result.status == 0, result.err
    name = "stages.0.blocks.0.mlp.2.weight_transposed"
    assert result.json["precision"]["out_of_range"] == {name: 1e5}
    assert f"note: {name} reaches 1e+05, which float16 cannot hold: its layer stays float32" in result.err
    assert f"{name} (up to 1e+05)" in metadata_of(tmp_path / "m.onnx")["precision"]["kept_float32"]
    types = types_of_weights(tmp_path / "m.onnx")
    assert types[name] == types["stages.0.blocks.0.mlp.2.bias"] == FULL
    assert types["stages.0.blocks.0.mlp.0.weight_transposed"] == HALF["fp16"]
    assert result.json["check"]["error"] < 1e-2
    assert (
        run("convert", source, "-o", tmp_path / "b.onnx", "--precision", "bf16", "--json").json["precision"][
            "out_of_range"
        ]
        == {}
    )


def loud_projection(model):
    """Multiply one layer by a million and take that back in the next operation: the same model, beyond float16."""
    for name in ("weight_transposed", "bias"):
        edit_weight(model, f"stages.1.blocks.0.attention.projection.{name}", lambda array: array.__imul__(1e6))
    scales = [node for node in model.graph.node if node.op_type == "Mul"]
    (scale,) = (name for name in scales[4].input if name in {weight.name for weight in model.graph.initializer})
    edit_weight(model, scale, lambda array: array.__imul__(1e-6))


def test_values_beyond_float16_are_refused_by_layer(tmp_path):
    source = edited(digits_onnx(), tmp_path / "loud.onnx", loud_projection)
    target = tmp_path / "m.onnx"
    result = run("convert", source, "-o", target)
    one_paragraph(result, "values that float16 cannot hold", "stage2.block1.mlp up to", "at most 65504", "bf16")
    assert not target.exists()
    assert run("convert", source, "-o", target, "--keep-fp32", "stage2.block1.mlp").status == 0
    assert run("verify", target, "--checkpoint", DIGITS).status == 0
    result = run("convert", source, "-o", target, "--precision", "bf16", "--json")
    assert result.json["check"]["largest"] > 65504
    assert run("verify", target, "--checkpoint", DIGITS).status == 0


def test_nan_in_float32_is_told_as_such(tmp_path):
    name = "stages.1.blocks.0.mlp.2.bias"
    source = edited(
        digits_onnx(), tmp_path / "nan.onnx", lambda m: edit_weight(m, name, lambda array: array.__setitem__(0, np.nan))
    )
    one_paragraph(run("convert", source, "-o", tmp_path / "m.onnx"), "NaN", "in float32 already", "stage2.block1.mlp")


def test_neither_torch_nor_a_runtime_is_needed(tmp_path):
    blocked = (*TORCH, "onnxruntime")
    result = run_process("convert", digits_onnx(), "-o", tmp_path / "m.onnx", "--json", blocked=blocked)
    assert result.status == 0, result.err
    assert result.json["check"]["error"] is None
    assert "note: the numbers were not checked: ONNX Runtime is not installed: pip install" in result.err
    assert run("verify", tmp_path / "m.onnx", "--checkpoint", DIGITS).status == 0


def test_a_golden_backbone_keeps_the_names_of_outputs_and_layers(tmp_path):
    plain, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    checkpoint = DATA / "golden" / "hf_nat_backbone"
    assert run("export", checkpoint, "-o", plain, "--dynamic-size", "32:128").status == 0
    assert run("convert", plain, "-o", target).status == 0
    before, after = (onnx.load(path) for path in (plain, target))
    assert [value.name for value in before.graph.output] == [value.name for value in after.graph.output]
    names = {output for node in after.graph.node for output in node.output}
    assert set(metadata_of(plain)["probes"]) <= names
    assert run("verify", target, "--checkpoint", checkpoint).status == 0
