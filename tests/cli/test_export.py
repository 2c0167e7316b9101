"""``natdeploy export``, every option, from a checkpoint to a file that runs."""

import shlex

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command_line import DIGITS, digits_onnx, dynamic_onnx, one_paragraph, run, two_outputs_onnx

from natdeploy.checkpoints.matching import expected_tensors
from natdeploy.checkpoints.random_weights import random_tensors
from natdeploy.models.variants import variant_named


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def next_command(err: str) -> list[str]:
    (line,) = (line for line in err.splitlines() if line.startswith("Next: natdeploy "))
    return shlex.split(line.removeprefix("Next: natdeploy ").split("  (")[0])


def test_a_plain_export_says_what_it_wrote_and_what_is_next(tmp_path):
    target = tmp_path / "a name with blanks.onnx"
    result = run("export", DIGITS, "-o", target, "--image-size", "40")
    assert result.status == 0
    facts = dict(line.split(maxsplit=1) for line in result.out.splitlines()[1:] if not line.startswith("  a"))
    assert facts["form"] == "hybrid"
    assert facts["file"] == str(target)
    assert facts["batch"] == "any"
    assert facts["outputs"] == "logits"
    assert "attention layers  " in result.out
    assert dims(onnx.load(target).graph.input[0]) == ["batch", 1, 40, 40]
    again = run(*next_command(result.err))
    assert again.status == 0, again.err
    assert "agrees with its reference" in again.out


def test_json_is_all_of_stdout(tmp_path):
    target = tmp_path / "m.onnx"
    result = run("export", DIGITS, "--output", target, "--form", "plugin", "--json", "--outputs", "pooled, logits")
    assert result.status == 0
    assert result.json == {
        "file": str(target),
        "bytes": target.stat().st_size,
        "form": "plugin",
        "precision": "float32",
        "attention_layers": 5,
        "input_format": "float32-nchw",
        "image_sizes": "32x32",
        "batch": "any",
        "outputs": ["pooled", "logits"],
    }
    assert next_command(result.err)[0] == "lower"
    assert [output.name for output in onnx.load(target).graph.output] == ["pooled", "logits"]
    assert not onnx.load(target).functions


def test_image_size_is_height_by_width():
    graph = onnx.load(two_outputs_onnx()).graph
    assert dims(graph.input[0]) == ["batch", 1, 40, 32]
    assert [output.name for output in graph.output] == ["logits", "pooled"]


def test_dynamic_size_and_fixed_batch():
    assert dims(onnx.load(dynamic_onnx()).graph.input[0]) == [3, 1, "height", "width"]
    result = run("export", DIGITS, "-o", "none.onnx", "--dynamic-size", "72:40", "--batch", "3")
    one_paragraph(result, "--dynamic-size 72:40 ends before it begins")


def test_external_data_and_portable_form(tmp_path):
    target = tmp_path / "m.onnx"
    result = run("export", DIGITS, "-o", target, "--external-data", "--form", "portable", "--batch", "2", "--json")
    assert result.status == 0
    data = tmp_path / "m.onnx.data"
    assert sorted(tmp_path.iterdir()) == [target, data]
    assert result.json["bytes"] == target.stat().st_size + data.stat().st_size
    assert data.stat().st_size > 4 * 300_000 > target.stat().st_size
    assert {node.domain for node in onnx.load(target).graph.node} == {""}
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
    plain = onnxruntime.InferenceSession(digits_onnx(), providers=["CPUExecutionProvider"])
    (logits,), (expected,) = (s.run(["logits"], {"pixel_values": pixels}) for s in (session, plain))
    assert np.abs(logits - expected).max() < 1e-4 * expected.std()


def test_the_same_file_is_written_again(tmp_path):
    before = digits_onnx().read_bytes()
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")
    target.with_name("m.onnx.data").write_bytes(b"not ours: the old file did not refer to it")
    assert run("export", DIGITS, "-o", target).status == 0
    assert target.read_bytes() == before
    assert target.with_name("m.onnx.data").exists()


@pytest.fixture(scope="module")
def bare_weights(tmp_path_factory):
    """Weights of nat_mini as a bare .pth file."""
    path = tmp_path_factory.mktemp("bare") / "weights.pth"
    torch.save({"model": random_tensors(expected_tensors(variant_named("nat_mini").config), seed=3)}, path)
    return path


def test_bare_weights_need_a_variant_that_fits(bare_weights, tmp_path):
    target = tmp_path / "m.onnx"
    one_paragraph(run("export", bare_weights, "-o", target), "--variant nat_mini", "--variant dinat_mini")
    one_paragraph(run("export", bare_weights, "-o", target, "--variant", "nat_tiny"), "not those of nat_tiny")
    one_paragraph(run("export", bare_weights, "-o", target, "--variant", "swin_tiny"), "swin_tiny", "nat_mini")
    assert run("inspect", bare_weights, "--variant", "dinat_mini", "--json").json["variant"] == "dinat_mini"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_variant_names_the_model_of_bare_weights(bare_weights, tmp_path):
    target = tmp_path / "m.onnx"
    result = run("export", bare_weights, "-o", target, "--variant", "nat_mini", "--image-size", "64x32")
    assert result.status == 0, result.err
    arguments = next_command(result.err)
    assert arguments[-2:] == ["--variant", "nat_mini"]
    assert run("verify", target, "--checkpoint", bare_weights, "--variant", "nat_mini", "--json").json["agrees"]
    assert run("verify", target, "--checkpoint", bare_weights, "--variant", "dinat_mini").status == 3
