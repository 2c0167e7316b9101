"""The table of planted faults fits the code, and mutate.py can tell caught from survived."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


def load_script():
    sys.path.insert(0, str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("mutate", SCRIPTS / "mutate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module
    spec.loader.exec_module(module)
    return module


MUTATE = load_script()
FAULTS = MUTATE.FAULTS


def test_every_fault_can_still_be_planted():
    assert MUTATE._table_problems(FAULTS) == []


def test_names_are_unique_and_say_the_area():
    assert len({fault.id for fault in FAULTS}) == len(FAULTS)
    assert {fault.id.count("/") for fault in FAULTS} == {1}


def test_every_fault_changes_what_the_code_does_and_someone_has_to_notice():
    for fault in FAULTS:
        assert fault.selections, fault.id
        original = (ROOT / fault.file).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(fault.planted_in(ROOT))) != ast.dump(ast.parse(original)), fault.id


@pytest.mark.parametrize(
    "file, form",
    [("reference.py", "reference"), ("torch_op.py", "torch op"), ("onnx_function.py", "hybrid-free"),
     ("onnx_portable.py", "portable-fixed"), ("onnx_tiles.py", "portable-fixed")],
)  # fmt: skip
def test_every_implementation_of_the_operator_has_faults_that_its_own_tests_must_notice(file, form):
    names = {s.name for fault in FAULTS if fault.file == f"natdeploy/ops/{file}" for s in fault.selections}
    assert form in names


def test_a_changed_line_is_a_problem_of_the_table(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old, count in (("x = 2", 0), ("x = 1", 2)):
        with pytest.raises(ValueError, match=f"a/b: a.py has {count} times, not once"):
            MUTATE.Fault("a/b", "a.py", old, "x = 3", ()).planted_in(tmp_path)


def run_mutate(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPTS / "mutate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_fault_is_caught_end_to_end(tmp_path):
    report = tmp_path / "report.json"
    done = run_mutate("--only", "reference/window-starts-later", "--json", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("caught 1 of 1 faults")
    (fault,) = json.loads(report.read_text())["faults"]
    (outcome,) = fault["runs"]
    assert outcome["status"] == MUTATE.FAILED
    assert outcome["test"].startswith("tests/ops/test_reference.py::")


def test_unknown_names_are_refused():
    done = run_mutate("--only", "no-such-fault")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no fault is like no-such-fault" in done.stderr


def test_what_no_test_notices_survives(monkeypatch, capsys):
    harmless = MUTATE.Fault("reference/harmless", "natdeploy/ops/reference.py", "", "", FAULTS[0].selections[:1])
    passed = MUTATE.Outcome(MUTATE.PASSED, 1.0)
    monkeypatch.setattr(MUTATE, "_import_what_all_runs_need", lambda selections: None)
    monkeypatch.setattr(MUTATE, "_outcomes", lambda jobs, trees: [(job, passed) for job in jobs])
    assert MUTATE._run([harmless], [], None) == 1
    printed = capsys.readouterr().out
    assert "SURVIVED  reference/harmless" in printed
    assert "no test notices" in printed
    assert "caught 0 of 1 faults" in printed


def test_a_selection_that_fails_without_a_fault_proves_nothing(monkeypatch, capsys):
    failed = MUTATE.Outcome(MUTATE.FAILED, 1.0, "tests/a.py::test_b", "assert 1 == 2")
    monkeypatch.setattr(MUTATE, "_import_what_all_runs_need", lambda selections: None)
    monkeypatch.setattr(MUTATE, "_outcomes", lambda jobs, trees: [(job, failed) for job in jobs])
    assert MUTATE._run(FAULTS[:1], [], None) == 2
    assert "does not pass without a fault: tests/a.py::test_b" in capsys.readouterr().err
