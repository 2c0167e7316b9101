"""natdeploy in an environment of its own with TensorRT for RTX 1.7.1, which builds engines without a GPU."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from command_line import Result
from plugins.trt_build import ENVIRONMENT, plugin_library
from side_environments import as_installed_here, python_with

VERSION = "1.7.1.116"
PACKAGES = (f"tensorrt-rtx-cu13-libs=={VERSION}", f"tensorrt-rtx-cu13-bindings=={VERSION}")
NATDEPLOY_NEEDS = ("click", "jsonschema", "numpy", "onnx", "onnx-ir", "pillow", "rich")


@cache
def python() -> Path:
    """The interpreter of that environment."""
    return python_with(*PACKAGES, *map(as_installed_here, NATDEPLOY_NEEDS))


def environment(**extra: str) -> dict[str, str]:
    """Variables of a process that finds the plugin library which the tests build."""
    return {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "NATDEPLOY_PLUGIN_LIBRARY": str(plugin_library()), **extra}


def command(*arguments: object, before: str = "") -> list[str]:
    """Give the command line of ``natdeploy``; ``before`` is Python code to run first."""
    return [str(python()), "-c", f"{before}\nfrom natdeploy.cli import main; main()", *map(str, arguments)]


def run(*arguments: object, before: str = "", cwd: Path | None = None, **extra: str) -> Result:
    """Run a command in a process of its own, with ``extra`` in its environment."""
    done = subprocess.run(
        command(*arguments, before=before),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        cwd=cwd,
        env=environment(**{"NATDEPLOY_TESTS": str(os.getpid()), **extra}),
    )
    return Result(done.returncode, done.stdout, done.stderr)
