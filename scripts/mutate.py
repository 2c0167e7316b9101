#!/usr/bin/env python
"""Plant faults, one at a time, and show that tests notice them (docs/testing.md).

Each fault of scripts/faults/ (a window that starts one too late, a flipped bias, swapped axes ...) is planted in a copy
of the repository; the tests that are meant to notice run there and at least one must fail. Without faults they must
pass. Your working tree stays as it is. Needs a system that can fork: Linux or macOS.

Exit status: 0 all faults are caught, 1 some survive, 2 the table or a test selection is broken.

Examples: python scripts/mutate.py
          python scripts/mutate.py --only 'portable/*' --only '*/scale-*' --jobs 2
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import importlib
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from faults import FAULTS, Fault, Selection

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("natdeploy", "tests", "scripts", "docs", "pyproject.toml")
TIMEOUT = 600  # seconds for one run of a selection; the longest takes about 60

# Imported once and inherited by every run: together these take longer to import than most tests take to run.
PRELOADED = ("torch", "torch._dynamo", "onnx.reference", "onnxruntime", "onnxscript", "safetensors.torch", "PIL.Image",
             "pytest", "_pytest.assertion.rewrite")  # fmt: skip

PASSED, FAILED = 0, 1  # pytest's exit statuses; any other means that no test could say anything


@dataclass(frozen=True)
class Job:
    """One run of pytest: a selection, with a fault or (None) without."""

    fault: Fault | None
    selection: Selection
    wide: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """What to pass to pytest."""
        return self.selection.wider if self.wide else self.selection.narrow


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Args:
        status: pytest's exit status; negative where the process died or took too long.
        seconds: How long it took.
        test: The first test that failed.
        reason: First line of that failure, or the end of what was printed where no test could run.
    """

    status: int
    seconds: float
    test: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Run:
    """A run that is under way; ``original`` is the text that the fault replaced."""

    process: BaseProcess
    job: Job
    tree: Path
    original: str
    started: float


class _FirstFailure:
    """A pytest plugin that remembers the first failure."""

    test = reason = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid
            crash = getattr(report.longrepr, "reprcrash", None)
            self.reason = (crash.message if crash else str(report.longrepr)).strip().partition("\n")[0]


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the faults and stop")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="faults like PATTERN; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    arguments = parser.parse_args()
    faults = [f for f in FAULTS if any(fnmatch.fnmatch(f.id, pattern) for pattern in arguments.only or ["*"])]
    if not faults:
        return _broken([f"no fault is like {' or '.join(arguments.only)}; --list prints them"])
    if problems := _table_problems(faults):
        return _broken(problems)
    if arguments.list:
        for fault in faults:
            print(f"{fault.id:<44} {fault.file}  [{', '.join(s.name for s in fault.selections)}]")
        return 0
    with _copies(arguments.jobs) as trees:
        return _run(faults, trees, arguments.json)


def _run(faults: Sequence[Fault], trees: Sequence[Path], report: Path | None) -> int:
    started = time.monotonic()
    selections = dict.fromkeys(s for fault in faults for s in fault.selections)
    _import_what_all_runs_need(selections)
    if problems := _baseline_problems([Job(None, selection) for selection in selections], trees):
        return _broken(problems)
    found: dict[str, list[tuple[Job, Outcome]]] = {}
    missed = []
    for job, outcome in _outcomes([Job(fault, s) for fault in faults for s in fault.selections], trees):
        assert job.fault is not None
        runs = found.setdefault(job.fault.id, [])
        runs.append((job, outcome))
        if outcome.status != FAILED:
            missed.append(job)
        if len(runs) == len(job.fault.selections):
            print(_line(job.fault, runs), flush=True)
    if missed:
        _say_who_else_notices(missed, trees)
    caught = sum(all(outcome.status == FAILED for _, outcome in runs) for runs in found.values())
    minutes = (time.monotonic() - started) / 60
    print(f"caught {caught} of {len(faults)} faults in {minutes:.1f} minutes")
    if report is not None:
        report.write_text(json.dumps(_document(found, caught, len(faults)), indent=1) + "\n", encoding="utf-8")
    if any(outcome.status not in (PASSED, FAILED) for runs in found.values() for _, outcome in runs):
        return 2
    return 0 if caught == len(faults) else 1


def _table_problems(faults: Iterable[Fault]) -> list[str]:
    """Say which faults cannot be planted any more, so that no change to the code disables one in silence."""
    problems = []
    for fault in faults:
        try:
            compile(fault.planted_in(ROOT), fault.file, "exec")
        except (ValueError, SyntaxError, OSError) as error:
            problems.append(str(error))
    return problems


def _baseline_problems(jobs: Sequence[Job], trees: Sequence[Path]) -> list[str]:
    """Run selections without a fault; say which do not pass."""
    problems = []
    for job, outcome in _outcomes(jobs, trees):
        text = f"{job.selection.name} ({' '.join(job.arguments)})"
        if outcome.status == PASSED:
            print(f"passes    {text} in {outcome.seconds:.1f} s without a fault", flush=True)
        else:
            problems.append(f"{text} does not pass without a fault: {outcome.test} {outcome.reason}")
    return problems


def _say_who_else_notices(missed: Sequence[Job], trees: Sequence[Path]) -> None:
    """Run the wider selections on the faults that the narrow ones missed."""
    wider = {job.selection.wider: Job(None, job.selection, wide=True) for job in missed}
    for problem in _baseline_problems(list(wider.values()), trees):
        print(f"broken    {problem}")
    for job, outcome in _outcomes([Job(job.fault, job.selection, wide=True) for job in missed], trees):
        assert job.fault is not None
        who = f"noticed by {outcome.test} only" if outcome.status == FAILED else "no test notices"
        print(f"          {job.fault.id} [{job.selection.name}]: {who}", flush=True)


def _line(fault: Fault, runs: Sequence[tuple[Job, Outcome]]) -> str:
    """One line for one fault: the verdict, and per selection the test that failed first."""
    statuses = {outcome.status for _, outcome in runs}
    verdict = "caught" if statuses == {FAILED} else "SURVIVED" if statuses <= {PASSED, FAILED} else "BROKEN"
    times: dict[str, list[str]] = {}
    for job, outcome in runs:
        test = outcome.test.partition("[")[0].removeprefix("tests/") or outcome.reason or "no test"
        times.setdefault(test, []).append(f"{job.selection.name} {outcome.seconds:.1f} s")
    return f"{verdict:<9} {fault.id}  by " + "; ".join(f"{test} ({', '.join(t)})" for test, t in times.items())


def _document(found: dict[str, list[tuple[Job, Outcome]]], caught: int, planted: int) -> dict[str, Any]:
    faults = [
        {"id": name, "file": runs[0][0].fault.file, "old": runs[0][0].fault.old, "new": runs[0][0].fault.new,
         "runs": [{"selection": job.selection.name, **asdict(outcome)} for job, outcome in runs]}
        for name, runs in found.items() if runs[0][0].fault is not None
    ]  # fmt: skip
    return {"caught": caught, "planted": planted, "faults": faults}


def _broken(problems: Iterable[str]) -> int:
    for problem in problems:
        print(f"broken    {problem}", file=sys.stderr)
    return 2


# Running pytest


@contextlib.contextmanager
def _copies(count: int) -> Iterator[list[Path]]:
    """Copy what the tests need, once per run at a time."""
    with tempfile.TemporaryDirectory(prefix="natdeploy-faults-") as directory:
        trees = [Path(directory).resolve() / f"copy{number}" for number in range(max(1, count))]
        for tree in trees:
            for name in COPIED:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx*"))
                elif (ROOT / name).exists():
                    shutil.copy(ROOT / name, tree / name)
        yield trees


def _import_what_all_runs_need(selections: Iterable[Selection]) -> None:
    """Do once, before forking, what would take every run some ten seconds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A fault and the text it replaces may have the same length and be written in the same second, which is all that
    # Python compares to tell whether bytecode is up to date.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # what a test really needs, it will ask for
            importlib.import_module(name)
    if any("onnx_files" in argument for selection in selections for argument in selection.narrow):
        _warm_up_the_exporter()


def _warm_up_the_exporter() -> None:
    """Export anything: torch imports most of its exporter when it is first used."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(torch.nn.Linear(1, 1).eval(), (torch.zeros(1, 1),), dynamo=True, verbose=False)


def _outcomes(jobs: Iterable[Job], trees: Sequence[Path]) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs, as many at a time as there are trees; give outcomes as they come."""
    waiting, free = list(jobs)[::-1], list(trees)
    running: list[_Run] = []
    try:
        while waiting or running:
            while waiting and free:
                running.append(_started(waiting.pop(), free.pop()))
            wait([run.process.sentinel for run in running], timeout=1)
            for run in list(running):
                if run.process.is_alive() and time.monotonic() < run.started + TIMEOUT:
                    continue
                running.remove(run)
                outcome = _outcome(run)
                free.append(run.tree)
                yield run.job, outcome
    finally:
        for run in running:
            run.process.kill()


def _started(job: Job, tree: Path) -> _Run:
    """Plant the fault and start pytest in a process of its own."""
    (tree / "result.json").unlink(missing_ok=True)
    original = ""
    if job.fault is not None:
        original = (tree / job.fault.file).read_text(encoding="utf-8")
        (tree / job.fault.file).write_text(job.fault.planted_in(tree), encoding="utf-8")
    arguments = [*job.arguments, "-q", *(["-x"] if job.fault else [])]
    process = multiprocessing.get_context("fork").Process(target=_run_pytest, args=(tree, arguments))
    process.start()
    return _Run(process, job, tree, original, time.monotonic())


def _outcome(run: _Run) -> Outcome:
    """Read what a run left, and mend its copy."""
    seconds = time.monotonic() - run.started
    timed_out = run.process.is_alive()
    if timed_out:
        run.process.kill()
    run.process.join()
    if run.job.fault is not None:
        (run.tree / run.job.fault.file).write_text(run.original, encoding="utf-8")
    printed = (run.tree / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    end = printed[-1] if printed else ""
    if timed_out or not (run.tree / "result.json").exists():
        died = f"no end after {TIMEOUT} s" if timed_out else f"the process died ({run.process.exitcode}): {end}"
        return Outcome(-1, seconds, reason=died)
    result = json.loads((run.tree / "result.json").read_text(encoding="utf-8"))
    reason = result["reason"] or (end if result["status"] not in (PASSED, FAILED) else "")
    return Outcome(result["status"], seconds, result["test"], reason)


def _run_pytest(tree: Path, arguments: Sequence[str]) -> None:
    """Run in a child process: let ``tree`` be the repository and run pytest in it."""
    output = os.open(tree / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(tree)
    _import_natdeploy_from(tree)
    import pytest

    watcher = _FirstFailure()
    status = int(pytest.main(list(arguments), plugins=[watcher]))
    result = {"status": status, "test": watcher.test, "reason": watcher.reason}
    (tree / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _import_natdeploy_from(tree: Path) -> None:
    """Make ``import natdeploy`` find the copy; an editable install would give the working tree."""
    assert "natdeploy" not in sys.modules
    sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
    sys.path.insert(0, str(tree))
    importlib.invalidate_caches()
    natdeploy = importlib.import_module("natdeploy")
    assert natdeploy.__file__ is not None and Path(natdeploy.__file__).is_relative_to(tree), natdeploy.__file__


if __name__ == "__main__":
    sys.exit(main())
