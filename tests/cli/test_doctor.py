"""``natdeploy doctor``."""

from command_line import TORCH, run, run_process


def test_everything_that_is_here_is_ok():
    result = run("doctor")
    assert (result.status, result.err) == (0, "")
    rows = {line.split("  ")[0]: line for line in result.out.splitlines()}
    assert " ok " in rows["exporting and verifying against a checkpoint"]
    assert rows["forms that ONNX Runtime takes"].endswith("hybrid, portable")


def test_json():
    document = run("doctor", "--json").json
    assert {finding["state"] for finding in document["findings"]} <= {"ok", "missing", "problem"}
    assert document["packages"]["torch"]["torch"]


def test_what_is_missing_has_the_command_that_brings_it():
    result = run_process("doctor", blocked=(*TORCH, "onnxruntime", "rich"))
    assert result.status == 0
    assert "exporting and verifying against a checkpoint: pip install -U 'natdeploy[export]'" in result.out
    assert "running ONNX files: pip install -U 'natdeploy[cpu]'" in result.out
    assert "forms that ONNX Runtime takes" not in result.out
