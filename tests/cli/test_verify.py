"""``natdeploy verify``: what agrees, and every way to disagree, by name."""

import json
import re
import shutil

import numpy as np
import onnx
import pytest
from command_line import (
    DIGITS,
    IMAGES,
    add_to_first,
    digits_onnx,
    dynamic_onnx,
    edit_weight,
    edited,
    one_paragraph,
    portable_onnx,
    run,
    two_outputs_onnx,
)
from safetensors.torch import load_file, save_file

from natdeploy.environment import is_installed


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def test_noise_agrees_and_the_report_reads_well():
    result = run("verify", two_outputs_onnx(), "--checkpoint", DIGITS)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == f"verify {two_outputs_onnx()}"
    assert lines[3] == "  inputs     seeded noise 2x1x40x32"
    assert lines[-1] == f"{two_outputs_onnx()} agrees with its reference."
    assert re.search(r"^logits +2x10 .* 100\.0 % +agrees$", result.out, re.MULTILINE)
    assert re.search(r"^pooled +2x[0-9]+ .* agrees$", result.out, re.MULTILINE)
    assert all(line == line.rstrip() for line in lines)
    assert result.err.splitlines()[-1] == f"Next: natdeploy infer {two_outputs_onnx()} IMAGE"


def test_json_has_every_figure():
    result = run("verify", two_outputs_onnx(), "--checkpoint", DIGITS, "--json", "--layers", "--seed", "7")
    document = result.json
    assert (result.status, document["agrees"], document["checkpoint_is_the_exported_one"]) == (0, True, True)
    logits, pooled = document["outputs"]
    assert (logits["name"], logits["shape"], logits["top1_agreement"]) == ("logits", [2, 10], 1.0)
    assert 0 < logits["error"] < logits["tolerance"] == 1e-4
    assert pooled["top1_agreement"] is None
    assert [layer["name"] for layer in document["layers"]][:2] == ["stem", "stage1.block1.qkv"]
    assert (document["first_drifting_layer"], document["passing_tolerance"], document["notes"]) == (None, None, [])
    assert set(document["environments"]["candidate"]) >= {"onnxruntime", "device", "threads"}
    other = run("verify", two_outputs_onnx(), "--checkpoint", DIGITS, "--json", "--seed", "8").json
    assert other["outputs"][0]["error"] != logits["error"]


def test_free_sizes_are_verified_at_several():
    document = run("verify", dynamic_onnx(), "--checkpoint", DIGITS, "--json").json
    assert document["agrees"]
    assert document["inputs"] == "seeded noise 3x1x40x40 + 3x1x51x72 + 3x1x72x50"


@pytest.mark.parametrize("images, count", [(DIGITS / "images", 20), (IMAGES[0], 1)], ids=["directory", "one image"])
def test_real_images(images, count):
    document = run("verify", portable_onnx(), "--checkpoint", DIGITS, "--images", images, "--json").json
    assert document["agrees"]
    assert document["inputs"].startswith(f"{count} images")
    assert document["outputs"][0]["shape"] == [count, 10]


def test_images_fill_up_a_fixed_batch():
    document = run("verify", dynamic_onnx(), "--checkpoint", DIGITS, "--images", DIGITS / "images", "--json").json
    assert document["agrees"]
    assert document["outputs"][0]["shape"] == [21, 10]


def test_given_inputs(tmp_path):
    np.savez(tmp_path / "in.npz", pixel_values=pixels(4, 1, 40, 32).astype(np.float64), labels=np.arange(4))
    result = run("verify", two_outputs_onnx(), "--checkpoint", DIGITS, "--inputs", tmp_path / "in.npz", "--json")
    assert result.json["inputs"] == "in.npz 4x1x40x32"
    assert result.json["agrees"]


def test_a_recording_stands_in_for_the_checkpoint(tmp_path):
    recording = tmp_path / "reference.npz"
    file = two_outputs_onnx()
    assert run("verify", file, "--checkpoint", DIGITS, "--save-reference", recording).status == 0
    assert list(tmp_path.iterdir()) == [recording]
    with np.load(recording) as archive:
        assert set(archive.files) == {"pixel_values", "logits", "pooled", "natdeploy.reference"}
        assert archive["logits"].dtype == np.float64
    result = run("verify", file, "--against", recording, "--json")
    assert (result.status, result.json["inputs"]) == (0, "recorded inputs 2x1x40x32")
    assert "recorded in reference.npz" in result.json["reference"]
    assert result.json["checkpoint_is_the_exported_one"] is True
    wrong = edited(file, tmp_path / "wrong.onnx", lambda model: edit_weight(model, "head.bias", add_to_first(0.5)))
    disagrees = run("verify", wrong, "--against", recording)
    assert (disagrees.status, "--layers" in disagrees.err) == (3, False)  # a recording has no inner tensors


def test_every_size_of_the_noise_is_recorded(tmp_path):
    recording = tmp_path / "r.npz"
    result = run("verify", dynamic_onnx(), "--checkpoint", DIGITS, "--save-reference", recording, "--json")
    sizes = result.json["inputs"].removeprefix("seeded noise ")
    assert sizes.count(" + ") == 2
    result = run("verify", dynamic_onnx(), "--against", recording, "--json")
    assert (result.status, result.json["inputs"]) == (0, f"recorded inputs {sizes}")


@pytest.mark.parametrize("batch", [None, 3], ids=["free batch", "fixed batch"])
def test_every_image_is_recorded(batch, tmp_path):
    file, count = (digits_onnx(), 20) if batch is None else (dynamic_onnx(), 21)  # a fixed batch is filled up
    recording = tmp_path / "r.npz"
    options = ["--images", DIGITS / "images", "--save-reference", recording]
    assert run("verify", file, "--checkpoint", DIGITS, *options).status == 0
    result = run("verify", file, "--against", recording, "--json")
    assert (result.status, result.json["outputs"][0]["shape"]) == (0, [count, 10])
    with np.load(recording) as archive:
        arrays = dict(archive)
    last = [name for name in arrays if name.endswith("logits")][-1]
    assert last != "logits"
    arrays[last][-1, 0] += 1  # of the last image alone
    np.savez(recording, **arrays)
    assert run("verify", file, "--against", recording).status == 3
    again = run("verify", file, "--checkpoint", DIGITS, "--inputs", recording, "--json")
    assert (again.status, again.json["outputs"][0]["shape"]) == (0, [count, 10])


@pytest.mark.skipif(is_installed("transformers"), reason="transformers is installed")
def test_the_reference_of_transformers_needs_its_extra():
    result = run("verify", digits_onnx(), "--checkpoint", DIGITS, "--reference", "transformers")
    one_paragraph(result, "'transformers'", "pip install 'natdeploy[transformers]'")


def test_the_tolerance_is_the_users_and_the_passing_one_passes():
    file = two_outputs_onnx()
    strict = run("verify", file, "--checkpoint", DIGITS, "--tolerance", "1e-9")
    assert strict.status == 3
    assert "DISAGREES: logits: numbers: error" in strict.out
    passing = re.search(r"All outputs would have passed with --tolerance (\S+)", strict.out)[1]
    assert run("verify", file, "--checkpoint", DIGITS, "--tolerance", passing).status == 0
    less = f"{float(passing) * 0.8:.2e}"
    document = run("verify", file, "--checkpoint", DIGITS, "--tolerance", less, "--json").json
    errors = [output["error"] for output in document["outputs"]]
    assert document["agrees"] is (max(errors) <= float(less))
    assert float(passing) >= max(errors)


def test_one_corrupted_weight_is_found_and_placed(tmp_path):
    name = "stages.1.blocks.0.attention.qkv.bias"
    wrong = edited(digits_onnx(), tmp_path / "m.onnx", lambda model: edit_weight(model, name, add_to_first(0.5)))
    plain = run("verify", wrong, "--checkpoint", DIGITS)
    assert plain.status == 3
    assert re.search(r"^logits .* numbers$", plain.out, re.MULTILINE)
    assert "--layers names the first layer that drifts" in plain.err
    result = run("verify", wrong, "--checkpoint", DIGITS, "--layers")
    assert result.status == 3
    assert result.out.splitlines()[-1] == "The first layer that drifts is stage2.block1.qkv."
    assert "--layers names" not in result.err


def test_a_corrupted_head_leaves_every_layer_alone(tmp_path):
    wrong = edited(digits_onnx(), tmp_path / "m.onnx", lambda model: edit_weight(model, "head.bias", add_to_first(9)))
    result = run("verify", wrong, "--checkpoint", DIGITS, "--layers")
    assert result.status == 3
    assert result.out.splitlines()[-1] == "No layer drifts: the difference arises after the last of them."


def drop_output(model):
    del model.graph.output[1]


def add_output(model):
    (probe,) = (value for value in model.graph.value_info if value.name == "stem")
    model.graph.output.append(probe)


def swap_outputs(model):
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(reversed(outputs))


def make_nan(model):
    edit_weight(model, "head.bias", add_to_first(np.nan))


def through(op_type, elem_type=onnx.TensorProto.FLOAT, shape=("batch", 10), **attributes):
    """Pass ``logits`` through one more node."""

    def change(model):
        (node,) = (node for node in model.graph.node if "logits" in node.output)
        node.output[0] = "before"
        inputs = ["before"]
        if op_type == "Unsqueeze":
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "axes"))
            inputs.append("axes")
        model.graph.node.append(onnx.helper.make_node(op_type, inputs, ["logits"], **attributes))
        model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("logits", elem_type, shape))

    return change


@pytest.mark.parametrize(
    "change, name, failure",
    [
        (drop_output, "pooled", "missing: the candidate does not give this output"),
        (add_output, "stem", "unexpected: the reference does not give this output"),
        (swap_outputs, "logits", "order: it is output 2 instead of 1"),
        (make_nan, "logits", "non-finite: 2 of 20 values of the candidate are NaN or infinite"),
        (through("Unsqueeze", shape=(1, "batch", 10)), "logits", "shape: 1x2x10 instead of 2x10"),
        (through("Transpose", shape=(10, "batch"), perm=[1, 0]), "logits", "shape: 10x2 instead of 2x10"),
        (through("Cast", onnx.TensorProto.FLOAT16, to=onnx.TensorProto.FLOAT16), "logits", "dtype: float16 instead of"),
        (through("Cast", onnx.TensorProto.DOUBLE, to=onnx.TensorProto.DOUBLE), "logits", "dtype: float64 instead of"),
        (through("Cast", onnx.TensorProto.INT64, to=onnx.TensorProto.INT64), "logits", "dtype: int64 instead of"),
        (through("Neg"), "logits", "numbers: error"),
    ],
    ids=["missing", "extra", "reordered", "nan", "shape", "transposed", "half", "double", "integer", "sign"],
)
def test_each_disagreement_has_its_name(change, name, failure, tmp_path):
    wrong = edited(two_outputs_onnx(), tmp_path / "m.onnx", change)
    result = run("verify", wrong, "--checkpoint", DIGITS)
    assert result.status == 3
    assert f"DISAGREES: {name}: {failure}" in result.out
    document = run("verify", wrong, "--checkpoint", DIGITS, "--json")
    assert document.status == 3
    assert not document.json["agrees"]
    (output,) = (output for output in document.json["outputs"] if output["name"] == name)
    assert output["failure"].startswith(failure)
    assert (document.json["passing_tolerance"] is not None) is failure.startswith("numbers")


@pytest.fixture
def other_weights(tmp_path):
    """Give a function that makes a digits checkpoint whose first head bias is off by ``amount``."""

    def make(amount: float):
        directory = tmp_path / "checkpoint"
        shutil.copytree(DIGITS, directory)
        tensors = load_file(directory / "model.safetensors")
        tensors["classifier.bias"][0] += amount
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        return directory

    return make


@pytest.mark.parametrize("amount, status", [(1e-6, 0), (0.5, 3)], ids=["as good as equal", "different"])
def test_other_weights_are_noted_and_the_numbers_decide(other_weights, amount, status):
    checkpoint = other_weights(amount)
    result = run("verify", digits_onnx(), "--checkpoint", checkpoint)
    assert result.status == status
    assert "note: these are not the weights that the file was exported from ('digits', sha256 " in result.err
    document = run("verify", digits_onnx(), "--checkpoint", checkpoint, "--json").json
    assert document["checkpoint_is_the_exported_one"] is False
    assert len(document["notes"]) == 1


def test_another_model_disagrees_or_is_refused():
    other = DIGITS.parent / "golden" / "hf_nat"
    one_paragraph(run("verify", digits_onnx(), "--checkpoint", other), "the model takes batchx3xheightxwidth")
    one_paragraph(run("verify", digits_onnx(), "--checkpoint", "random:nat_huge"), "nat_huge")


def test_json_has_no_infinity(tmp_path):
    wrong = edited(two_outputs_onnx(), tmp_path / "m.onnx", make_nan)
    result = run("verify", wrong, "--checkpoint", DIGITS, "--json", "--layers")
    assert json.loads(result.out, parse_constant=pytest.fail)["outputs"][0]["error"] == "inf"
