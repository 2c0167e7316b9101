"""How steps are run and kept: files, crashes, time limits, what sanitizers print, a machine without a GPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scripts.emulated_op import emulated_op
from side_environments import ROOT, python_with

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks import __main__ as command_line
from gpu_checks import sanitizer
from gpu_checks.result import Record, StepResult, commit_of

from natdeploy.errors import NatdeployError

SCRIPT = ROOT / "scripts" / "run_gpu_checks.sh"
GPU = {"name": "NVIDIA Test 9000"}
PASSED = StepResult("12 uses checked", figures={"uses": 12})


def run_script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    values = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=values)


def test_verdicts():
    assert PASSED.verdict == "passed"
    assert StepResult("", ["wrong"]).verdict == "failed"
    assert StepResult("", skipped="no SDK").verdict == "skipped"
    kept = StepResult("", skipped="no SDK").as_json(1.26)
    assert (kept["summary"], kept["seconds"], kept["problems"]) == ("no SDK", 1.3, [])


def test_a_record_keeps_steps_of_earlier_runs(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("NATDEPLOY_COMMIT", "0123abc+")
    Record(tmp_path, GPU, {"kernel_version": 1}).keep("numbers", PASSED.as_json(2.0))
    again = Record(tmp_path, GPU, {"kernel_version": 2})
    again.keep("times", StepResult("slow", ["wrong"]).as_json(3.0))
    (path,) = tmp_path.iterdir()
    assert path == again.path and path.name.endswith("-nvidia-test-9000-0123abc.json")
    document = json.loads(path.read_text())
    assert {name: step["verdict"] for name, step in document["steps"].items()} == {
        "numbers": "passed",
        "times": "failed",
    }
    assert (document["commit"], document["library"]["kernel_version"]) == ("0123abc+", 2)
    again.keep("times", PASSED.as_json(3.0))
    assert json.loads(path.read_text())["steps"]["times"]["verdict"] == "passed"


def test_the_commit_says_whether_files_differ(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("NATDEPLOY_COMMIT", raising=False)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of(tmp_path) == "unknown"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)
    clean = commit_of(tmp_path)
    (tmp_path / "file").write_text("two")
    assert len(clean) == 12 and commit_of(tmp_path) == f"{clean}+"


def test_a_child_that_crashes_or_hangs_is_a_result(capfd):
    status, tail = command_line.run_child([sys.executable, "-c", "import os; print('case 7', flush=True); os.abort()"])
    crash = command_line.crash_of(status, tail, 1.0)
    assert crash["verdict"] == "failed" and "status -6" in crash["summary"] and "case 7" in crash["summary"]
    assert "case 7" in capfd.readouterr().out  # shown as it comes
    hang = "import time; print('case 8', flush=True); time.sleep(60)"
    status, tail = command_line.run_child([sys.executable, "-c", hang], limit=1.0)
    assert status == "timeout" and "ten minutes" in command_line.crash_of(status, tail, 1.0)["summary"]
    assert command_line.run_child([sys.executable, "-c", "print('fine')"]) == (0, ["fine"])


def test_all_steps_are_run_and_a_crash_keeps_what_others_found(tmp_path: Path, monkeypatch, capsys):
    """Children are pretended: the first passes, the second ends without a result, the third fails."""
    monkeypatch.setenv("NATDEPLOY_COMMIT", "0123abc")
    monkeypatch.setattr(command_line, "STEPS", command_line.STEPS[:3])
    monkeypatch.setattr(command_line, "gpu_facts", lambda: GPU)
    library = SimpleNamespace(kernel_version=3, digest="ab")
    monkeypatch.setattr(command_line, "context_of", lambda options: SimpleNamespace(op=library))
    options = SimpleNamespace(output=tmp_path, step=None)

    def pretended(command, limit=0.0):
        name = command[-1]
        if name == "numbers":
            return -11, ["  tensor_core case 5", "Segmentation fault"]
        result = PASSED if name == "first-look" else StepResult("bad", ["wrong"])
        Record(tmp_path, GPU, {}).keep(name, result.as_json(1.0))
        return int(bool(result.problems)), []

    monkeypatch.setattr(command_line, "run_child", pretended)
    assert command_line.run_all(options) == 1
    (path,) = tmp_path.glob("*.json")
    steps = json.loads(path.read_text())["steps"]
    assert {name: step["verdict"] for name, step in steps.items()} == {
        "first-look": "passed", "numbers": "failed", "memory": "failed"
    }  # fmt: skip
    assert "status -11" in steps["numbers"]["summary"] and "  tensor_core case 5" in steps["numbers"]["problems"]
    assert "failed: numbers, memory" in capsys.readouterr().out


def test_one_step_is_run_and_kept(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("NATDEPLOY_COMMIT", "0123abc")
    step = command_line.Step("check", "", "a_module", "a_function", ("memcheck",))
    module = SimpleNamespace(a_function=lambda context, tool: StepResult(f"{context.op.digest} {tool}", ["wrong"]))
    monkeypatch.setitem(sys.modules, "gpu_checks.a_module", module)
    monkeypatch.setattr(command_line, "STEPS", (step,))
    monkeypatch.setattr(command_line, "gpu_facts", lambda: GPU)
    library = SimpleNamespace(kernel_version=3, digest="ab")
    monkeypatch.setattr(command_line, "context_of", lambda options: SimpleNamespace(op=library))
    assert command_line.run_one(SimpleNamespace(output=tmp_path, step="check")) == 1
    assert capsys.readouterr().out == "failed: ab memcheck\n  wrong\n"
    with pytest.raises(NatdeployError, match="there is no step 'chekc'"):
        command_line.run_one(SimpleNamespace(output=tmp_path, step="chekc"))


def test_every_step_names_a_function_that_exists():
    names = [step.name for step in command_line.STEPS]
    assert len(names) == len(set(names)) == 12
    for step in command_line.STEPS:
        module = __import__(f"gpu_checks.{step.module}", fromlist=[step.function])
        assert callable(getattr(module, step.function))


def test_the_list_of_steps_needs_no_gpu():
    done = run_script("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [step.name for step in command_line.STEPS]


@pytest.mark.parametrize("arguments", [[], ["--step", "numbers"]])
def test_without_a_gpu_there_is_one_sentence(arguments: list[str]):
    done = run_script(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no GPU here") and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_torch_there_is_one_sentence(tmp_path: Path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "env"):
        (tools / name).symlink_to(shutil.which(name))
    script = tmp_path / "scripts" / SCRIPT.name  # beside no .venv
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    environment = {"PATH": str(tools)}
    done = subprocess.run([str(script)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "torch and numpy" in done.stderr and done.stderr.count("\n") == 1


def test_a_context_holds_what_the_command_line_names(tmp_path: Path, monkeypatch):
    library = tmp_path / "libnatdeploy_op.so"
    library.symlink_to(emulated_op().path)
    monkeypatch.setattr(sys, "argv", ["gpu_checks", "--library", str(library), "--budget", "7", "--models", "some"])
    context = command_line.context_of(command_line._options())
    assert (context.device, context.compute_capability, context.budget) == ("cuda", 90, 7.0)
    assert (context.models, context.plugin) == (Path("some"), None)
    assert context.docs == ROOT / "docs" / "gpu"
    (tmp_path / "libnatdeploy_trt.so").touch()
    assert command_line.context_of(command_line._options()).plugin == tmp_path / "libnatdeploy_trt.so"


def test_what_is_known_of_a_gpu(monkeypatch):
    found = {"name": "NVIDIA Test 9000", "major": 9, "minor": 0, "multi_processor_count": 132, "total_memory": 8}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(**found, L2_cache_size=50))
    facts = command_line.gpu_facts()
    assert (facts["name"], facts["compute_capability"], facts["l2_bytes"]) == ("NVIDIA Test 9000", 90, 50)
    assert facts["torch"] == torch.__version__ and json.loads(json.dumps(facts)) == facts


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("NATDEPLOY_OP_LIBRARY", raising=False)
    with pytest.raises(NatdeployError, match=r"libnatdeploy_op\.so, named by --library"):
        command_line.library_path(tmp_path / "absent.so")
    present = tmp_path / "libnatdeploy_op.so"
    present.touch()
    assert command_line.library_path(present) == present
    monkeypatch.setenv("NATDEPLOY_OP_LIBRARY", str(present))
    assert command_line.library_path(None) == present


MEMCHECK = """
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 16 bytes
=========     at natdeploy::k()+0x2a0
=========     by thread (3,0,0) in block (1,0,0)
sanitized 31 uses, 0 wrong
========= ERROR SUMMARY: 2 errors
"""
RACECHECK = """
========= COMPUTE-SANITIZER
sanitized 9 uses, 0 wrong
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""


def test_what_sanitizers_print_is_judged():
    found = sanitizer.result_of("memcheck", 9, MEMCHECK)
    assert found.problems == ["Invalid __global__ write of size 16 bytes"]
    assert found.figures == {"uses": 31, "findings": 2}
    assert sanitizer.result_of("racecheck", 0, RACECHECK).problems == []
    silent = sanitizer.result_of("memcheck", 9, MEMCHECK.replace("Invalid", "Something new"))
    assert silent.problems == ["memcheck counts 2 findings"]


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("", "no summary"),
        ("========= ERROR SUMMARY: 0 errors\n", "did not run to their end"),
        ("sanitized 0 uses, 0 wrong\n========= ERROR SUMMARY: 0 errors\n", "did not run to their end"),
        ("sanitized 5 uses, 2 wrong\n========= ERROR SUMMARY: 0 errors\n", "2 uses gave wrong numbers"),
        ("sanitized 5 uses, 0 wrong\n", "no summary"),
    ],
)
def test_a_sanitizer_that_saw_nothing_did_not_pass(output: str, problem: str):
    assert any(problem in found for found in sanitizer.result_of("initcheck", 0, output).problems)


def test_the_sanitizer_is_found_or_the_step_is_skipped(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("COMPUTE_SANITIZER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(sanitizer.sysconfig, "get_path", lambda name: str(tmp_path))
    assert sanitizer.find_sanitizer() is None
    assert sanitizer.check_with_sanitizer(None, "memcheck").verdict == "skipped"
    packaged = tmp_path / "nvidia" / "cu13" / "bin" / "compute-sanitizer"
    packaged.parent.mkdir(parents=True)
    packaged.touch()
    assert sanitizer.find_sanitizer() == packaged
    command = sanitizer.command_for(packaged, "racecheck", ["python", "x"])
    assert command[:3] == [str(packaged), "--tool", "racecheck"] and command[-2:] == ["python", "x"]
    assert "--leak-check" in sanitizer.command_for(packaged, "memcheck", []) and "--leak-check" not in command


ONLY_TORCH = """
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"onnx", "onnx_ir", "onnxruntime", "onnxscript", "click", "rich", "PIL", "jsonschema"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from gpu_checks.__main__ import STEPS, context_of
for step in STEPS:
    assert callable(getattr(importlib.import_module(f"gpu_checks.{step.module}"), step.function))
import gpu_checks.engine_run, gpu_checks.timing
from gpu_checks.cases import all_cases
print(len(all_cases()))
"""


def test_the_steps_import_torch_and_numpy_alone():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])}
    command = [sys.executable, "-c", ONLY_TORCH]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_the_real_sanitizer_takes_the_command_line(tool: str):
    """Without a GPU nothing is instrumented: the tool says so, and the step has not passed."""
    python = python_with("nvidia-cuda-sanitizer-api==13.0.*")
    found = next((python.parents[1] / "lib").glob("python*/site-packages/nvidia/cu13/bin/compute-sanitizer"))
    program = [sys.executable, "-c", "print('sanitized 3 uses, 0 wrong')"]
    command = sanitizer.command_for(found, tool, program)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "terminated before first instrumented API call" in done.stdout
    assert sanitizer.result_of(tool, done.returncode, done.stdout).verdict == "failed"
    wrong = subprocess.run([*command[:3], "--no-such-option", *program], capture_output=True, text=True, check=False)
    assert "instrumented" not in wrong.stdout and "no-such-option" in wrong.stdout + wrong.stderr
