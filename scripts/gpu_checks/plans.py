"""natdeploy's own commands on this GPU: whole models become plans, which ``verify`` compares with what was recorded."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_checks.engines import PREPARE, bindings, child_environment
from gpu_checks.result import StepResult

if TYPE_CHECKING:
    from gpu_checks.steps import Context

FOLDER = "plans"  # inside the folder of models
PRECISIONS: dict[str, tuple[str, ...]] = {"fp32": (), "fp16": ("--fp16",), "bf16": ("--bf16",)}
WAYS: dict[str, tuple[str, ...]] = {"plain": (), "graph": ("--cuda-graph",)}
MODULES = ("click", "jsonschema", "onnx", "onnx_ir", "PIL", "rich", "cuda.bindings")


def check_plans(context: Context) -> StepResult:
    """Build a plan of every model in every precision, and verify it plainly and as a CUDA graph."""
    reason = reason_against_plans(context)
    if reason:
        return StepResult("", skipped=reason)
    assert context.models is not None and context.plugin is not None
    began = time.monotonic()
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="natdeploy-plans-") as name:
        for model in sorted((context.models / FOLDER).glob("*.onnx")):
            for precision, options in PRECISIONS.items():
                if time.monotonic() - began > context.budget:
                    problems.append(f"{model.stem} {precision} was left out: the time was over")
                    continue
                context.say(f"{model.stem} {precision}")
                plan = Path(name) / f"{model.stem}.{precision}.plan"
                rows += verified_plans(model, plan, precision, options, context.plugin)
    for row in rows:
        if not row.get("agrees"):
            problems.append(f"{row['model']} {row['precision']} {row.get('way', 'build')}: {row['said']}")
    return StepResult(f"{len(rows)} runs of plans, {len(problems)} problems", problems, {"rows": rows})


def verified_plans(
    model: Path, plan: Path, precision: str, options: tuple[str, ...], plugin: Path
) -> list[dict[str, Any]]:
    """Build one plan and run it each way; gives a row per run, or one for a plan that was not built."""
    row: dict[str, Any] = {"model": model.stem, "precision": precision}
    built = natdeploy(plugin, "build-engine", str(model), "-o", str(plan), *options)
    if built.returncode != 0:
        return [{**row, "agrees": False, "said": _last_line(built)}]
    rows = []
    for way, how in WAYS.items():
        recorded = str(model.with_suffix(".npz"))
        done = natdeploy(plugin, "verify", str(plan), "--against", recorded, "--json", *how)
        rows.append({**row, "way": way, **_judged(done)})
    return rows


def _judged(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Reduce a report of ``verify`` to what is kept."""
    try:
        report: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"agrees": False, "said": _last_line(done)}
    outputs = {output["name"]: output["error"] for output in report["outputs"]}
    failed = [f"{output['name']}: {output['failure']}" for output in report["outputs"] if output["failure"]]
    return {
        "agrees": done.returncode == 0 and bool(report["agrees"]),
        "said": "; ".join(failed),
        "candidate": report["candidate"],
        "inputs": report["inputs"],
        "tolerance": report["outputs"][0]["tolerance"],
        "errors": outputs,
    }


def natdeploy(plugin: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run natdeploy with TensorRT's libraries on its path."""
    environment = child_environment(Path(os.environ["TENSORRT_ROOT"])) if "TENSORRT_ROOT" in os.environ else os.environ
    return subprocess.run(
        [sys.executable, "-m", "natdeploy", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "NATDEPLOY_PLUGIN_LIBRARY": str(plugin)},
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"status {done.returncode}: {lines[-1][-500:] if lines else 'nothing said'}"


def reason_against_plans(context: Context) -> str | None:
    """Say what is missing; None where nothing is."""
    if bindings() is None:
        return "TensorRT's Python bindings are not installed"
    if missing := [name for name in MODULES if not _is_there(name)]:
        return f"natdeploy lacks {', '.join(missing)}: pip install 'natdeploy[tensorrt]'"
    if context.plugin is None:
        return "libnatdeploy_trt.so was not found: name it by --plugin"
    if context.models is None or not any((context.models / FOLDER).glob("*.onnx")):
        return f"there are no models in {context.models and context.models / FOLDER}: make them by {PREPARE}"
    return None


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False
