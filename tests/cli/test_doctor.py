"""``natdeploy doctor``."""

from command_line import TORCH, one_paragraph, run, run_process

from natdeploy import plugin_library


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


def test_the_plugin_library_for_other_tools(tmp_path, monkeypatch):
    """Just its path, so that a shell can put it into a command line; or one paragraph."""
    library = tmp_path / "libnatdeploy_trt.so"
    library.touch()
    monkeypatch.setattr(plugin_library, "checked_plugin_library", lambda: library)
    result = run("doctor", "--plugin-library")
    assert (result.status, result.out, result.err) == (0, f"{library}\n", "")
    assert run("doctor", "--plugin-library", "--json").json == {"plugin_library": str(library)}
    monkeypatch.undo()
    monkeypatch.setenv(plugin_library.VARIABLE, str(tmp_path / "missing.so"))
    one_paragraph(run("doctor", "--plugin-library"), "NATDEPLOY_PLUGIN_LIBRARY", "is not a file")
