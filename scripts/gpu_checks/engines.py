"""TensorRT engines of whole models and single layers, where TENSORRT_ROOT names an SDK."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_checks.result import StepResult
from natdeploy.ops.spec import OP_TOLERANCE

if TYPE_CHECKING:
    from gpu_checks.steps import Context

# Whole float32 models without TF32, as a share of the outputs' standard deviation: other orders of summation.
MODEL_TOLERANCE = 2e-3
LIBRARY_FOLDERS = ("lib", "", "targets/x86_64-linux-gnu/lib", "targets/aarch64-linux-gnu/lib")
PREPARE = "python scripts/gpu_checks/prepare_models.py, on a machine with natdeploy[export,cpu]"


def check_engines(context: Context) -> StepResult:
    """Build and run an engine of every ONNX file in the models folder, and compare with the outputs beside it."""
    reason = reason_against_engines(context)
    if reason:
        return StepResult("", skipped=reason)
    assert context.models is not None and context.plugin is not None
    began = time.monotonic()
    rows, problems = [], []
    for model in sorted(context.models.glob("*.onnx")):
        if time.monotonic() - began > context.budget:
            problems.append(f"{model.name} was left out: the time was over")
            continue
        context.say(model.name)
        seen = engine_in_child(context.plugin, model)
        rows.append({"model": model.stem, **seen})
        problems += [f"{model.stem}: {problem}" for problem in problems_of(seen)]
    version = rows[0].get("version", "unknown") if rows else "unknown"
    return StepResult(f"{len(rows)} engines by TensorRT {version}, {len(problems)} problems", problems, {"rows": rows})


def reason_against_engines(context: Context) -> str | None:
    """Say what is missing for engines; None where nothing is."""
    if not os.environ.get("TENSORRT_ROOT"):
        return "TENSORRT_ROOT names no TensorRT"
    if bindings() is None:
        return "TensorRT's Python bindings are not installed: pip install the wheel in TENSORRT_ROOT/python"
    if context.plugin is None:
        return "libnatdeploy_trt.so was not found: name it by --plugin"
    if context.models is None or not any(context.models.glob("*.onnx")):
        return f"there are no models in {context.models}: make them by {PREPARE}"
    return None


def bindings() -> str | None:
    """Give the name of TensorRT's Python module."""
    return next((name for name in ("tensorrt", "tensorrt_bindings") if importlib.util.find_spec(name)), None)


def child_environment(tensorrt_root: Path) -> dict[str, str]:
    """Give an environment in which TensorRT's libraries are found: it must be set before a process starts."""
    folders = [str(tensorrt_root / folder) for folder in LIBRARY_FOLDERS if (tensorrt_root / folder).is_dir()]
    paths = [*folders, os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths))}


def engine_in_child(plugin: Path, model: Path) -> dict[str, Any]:
    """Build and run in a process of its own; a crash is an entry ``crashed``."""
    command = [sys.executable, "-m", "gpu_checks.engine_run", bindings() or "", str(plugin), str(model)]
    environment = child_environment(Path(os.environ["TENSORRT_ROOT"]))
    command.append(str(model.with_suffix(".npz")))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return {"crashed": f"status {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}"}
    seen: dict[str, Any] = json.loads(lines[-1])
    return seen


def problems_of(seen: Mapping[str, Any]) -> list[str]:
    """Judge what a child reported."""
    if "crashed" in seen:
        return [f"crashed with {seen['crashed']}"]
    if not seen["loaded"]:
        return ["the plugin library cannot be loaded"]
    if not seen["parsed"] or not seen.get("engine_bytes"):
        return [f"no engine: {'; '.join(seen['messages'])[:500]}"]
    problems = [] if seen["layers"].get("PLUGIN_V3") else ["no layer is a plugin"]
    problems += [] if seen.get("ran") else ["the engine did not run"]
    for name, output in seen.get("outputs", {}).items():
        limit = limit_of(output)
        for how, error in (("", output["error"]), (" as a CUDA graph", seen["replayed"][name])):
            if not (math.isfinite(error) and error <= limit):
                problems.append(f"{name}{how}: error {error:.2e} exceeds {limit:.2e}")
    return problems


def limit_of(output: Mapping[str, Any]) -> float:
    """Give the largest error allowed: single layers are in half precision, whole models in float32."""
    if output["dtype"] == "float32":
        return MODEL_TOLERANCE * float(output["deviation"])
    return OP_TOLERANCE[output["dtype"]]
