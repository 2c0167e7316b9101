"""The step that runs natdeploy's own commands on a GPU: here with pretended commands, and on a pretended GPU."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import digits_onnx, run
from engines.pretended_machine import assert_used_well, pretended_machine, write_plan
from side_environments import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks import plans, steps
from gpu_checks.prepare_models import DIGITS, write_hybrid


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder with one model, and everything that the step asks for."""
    folder = tmp_path / "models" / plans.FOLDER
    folder.mkdir(parents=True)
    (folder / "digits.onnx").write_bytes(digits_onnx().read_bytes())
    saved = ("--save-reference", folder / "digits.npz")
    assert run("verify", folder / "digits.onnx", "--checkpoint", DIGITS, *saved).status == 0
    monkeypatch.setattr(plans, "bindings", lambda: "tensorrt")
    monkeypatch.setattr(plans, "_is_there", lambda module: True)
    return folder.parent


def context_of(models, **values):
    return steps.Context(None, "cpu", 90, None, say=lambda text: None, plugin=Path("p.so"), models=models, **values)


def pretended_commands(monkeypatch, change=lambda plan, options: None):
    """Let commands run here: ``build-engine`` writes a plan for a pretended TensorRT."""

    def natdeploy(plugin, command, *arguments):
        if command == "verify":
            result = run(command, *arguments)
            return subprocess.CompletedProcess([], result.status, result.out, result.err)
        source, _, plan, *options = arguments
        write_plan(Path(plan), Path(source), "tensorrt", options={"precision": options[0][2:] if options else "fp32"})
        status = change(Path(plan), options) or 0
        return subprocess.CompletedProcess([], status, "", "building\nerror: TensorRT refuses it" if status else "")

    monkeypatch.setattr(plans, "natdeploy", natdeploy)


def test_every_precision_is_run_both_ways(models, tmp_path, monkeypatch):
    machine = pretended_machine(monkeypatch, tmp_path)
    pretended_commands(monkeypatch)
    result = plans.check_plans(context_of(models))
    assert (result.verdict, result.summary) == ("passed", "6 runs of plans, 0 problems")
    rows = result.figures["rows"]
    assert [(row["precision"], row["way"]) for row in rows] == [
        (precision, way) for precision in ("fp32", "fp16", "bf16") for way in ("plain", "graph")
    ]
    assert all(0 < row["errors"]["logits"] < row["tolerance"] for row in rows)
    assert rows[1]["candidate"] == "TensorRT 10.15.1.29 NVIDIA H100 (CUDA graph)"
    assert machine.captures == 3
    assert_used_well(machine)


def test_what_is_wrong_is_named(models, tmp_path, monkeypatch):
    pretended_machine(monkeypatch, tmp_path)

    def change(plan, options):
        if options == ["--fp16"]:
            return 1
        if options == ["--bf16"]:
            plan.with_name(f"{plan.name}.json").unlink()
        return 0

    pretended_commands(monkeypatch, change)
    result = plans.check_plans(context_of(models))
    assert result.verdict == "failed"
    build, *runs = result.problems
    assert build == "digits fp16 build: status 1: error: TensorRT refuses it"
    assert [problem.partition(": ")[0] for problem in runs] == ["digits bf16 plain", "digits bf16 graph"]
    assert all("there is no 'digits.bf16.plan.json'" in problem for problem in runs)


def test_disagreement_is_a_problem(models, tmp_path, monkeypatch):
    pretended_machine(monkeypatch, tmp_path)
    pretended_commands(monkeypatch)
    recorded = models / plans.FOLDER / "digits.npz"
    assert run("verify", digits_onnx(), "--checkpoint", DIGITS, "--seed", "1", "--save-reference", recorded).status == 0
    with np.load(recorded) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(recorded, **{**arrays, "logits": arrays["logits"] + 1})
    result = plans.check_plans(context_of(models))
    assert len(result.problems) == 6
    assert result.problems[0].startswith("digits fp32 plain: logits: ")


def test_what_is_left_out_for_time_is_a_problem(models, monkeypatch):
    result = plans.check_plans(context_of(models, budget=-1.0))
    assert result.problems[0] == "digits fp32 was left out: the time was over"


def test_what_is_missing_is_said(tmp_path, models, monkeypatch):
    def reason(**values):
        context = steps.Context(None, "cpu", 90, None, **{"plugin": Path("p.so"), "models": tmp_path, **values})
        return plans.reason_against_plans(context)

    assert "prepare_models.py" in reason()
    assert "--plugin" in reason(plugin=None)
    monkeypatch.setattr(plans, "_is_there", lambda module: module != "cuda.bindings")
    assert reason() == "natdeploy lacks cuda.bindings: pip install 'natdeploy[tensorrt]'"
    monkeypatch.setattr(plans, "bindings", lambda: None)
    assert "bindings are not installed" in reason()
    assert plans.check_plans(context_of(models)).verdict == "skipped"


def test_commands_run_in_processes_of_their_own_with_the_plugin(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORRT_ROOT", str(tmp_path))
    done = plans.natdeploy(tmp_path / "missing.so", "doctor", "--plugin-library")
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing.so" in plans._last_line(done)


@pytest.mark.slow
def test_a_prepared_model_of_free_size_agrees_with_its_recording(tmp_path):
    write_hybrid(tmp_path, "free", DIGITS, "--dynamic-size", "32:64")
    result = run("verify", tmp_path / "free.onnx", "--against", tmp_path / "free.npz", "--json")
    assert result.status == 0, result.err
    assert result.json["inputs"] == "recorded inputs 2x1x32x32 + 2x1x43x64 + 2x1x64x42"
