"""A machine that only infers needs no torch: recorded once elsewhere, a file is verified and run there."""

import pytest
from command_line import (
    DIGITS,
    IMAGES,
    TORCH,
    add_to_first,
    digits_onnx,
    edit_weight,
    edited,
    one_paragraph,
    run,
    run_process,
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "reference.npz"
    images = DIGITS / "images"
    saved = run("verify", digits_onnx(), "--checkpoint", DIGITS, "--images", images, "--save-reference", path)
    assert saved.status == 0
    return path


def test_verify_against_a_recording(recording, tmp_path):
    result = run_process("verify", digits_onnx(), "--against", recording, "--json", blocked=TORCH)
    assert result.status == 0, result.err
    assert result.json["agrees"]
    assert result.json["outputs"][0]["shape"] == [20, 10]
    assert result.json["reference"].startswith("PyTorch ")
    wrong = edited(digits_onnx(), tmp_path / "m.onnx", lambda model: edit_weight(model, "head.bias", add_to_first(0.1)))
    result = run_process("verify", wrong, "--against", recording, blocked=TORCH)
    assert result.status == 3
    assert "DISAGREES: logits: numbers" in result.out


def test_infer(tmp_path):
    result = run_process("infer", digits_onnx(), IMAGES[0], IMAGES[-1], "--top", "1", "--json", blocked=TORCH)
    assert result.status == 0, result.err
    assert [one["guesses"][0]["index"] for one in result.json] == [0, 9]


def test_lower_inspect_and_doctor(tmp_path):
    assert run_process("lower", digits_onnx(), "-o", tmp_path / "m.onnx", blocked=TORCH).status == 0
    assert run_process("inspect", tmp_path / "m.onnx", "--json", blocked=TORCH).json["form"] == "portable"
    assert run_process("doctor", blocked=TORCH).status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", DIGITS, "-o", "m.onnx"],
        ["inspect", DIGITS],
        ["verify", digits_onnx, "--checkpoint", DIGITS],
        ["verify", digits_onnx, "--checkpoint", DIGITS, "--reference", "transformers"],
    ],
    ids=["export", "inspect a checkpoint", "verify", "verify with transformers"],
)
def test_what_needs_torch_says_so(arguments, tmp_path):
    arguments = [argument() if callable(argument) else argument for argument in arguments]
    result = run_process(*arguments, blocked=TORCH, cwd=tmp_path)
    one_paragraph(result, "needs the package 'torch'", "pip install 'natdeploy[export]'")
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_runtime():
    one_paragraph(
        run_process("infer", digits_onnx(), IMAGES[0], blocked=[*TORCH, "onnxruntime"]),
        "needs the package 'onnxruntime'",
        "pip install 'natdeploy[cpu]'",
    )
