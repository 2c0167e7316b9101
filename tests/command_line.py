"""Running the command line in the tests, and the files that many of them need: each costs seconds to make."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from natdeploy import cli

DATA = Path(__file__).parent / "data"
DIGITS = DATA / "digits"
IMAGES = sorted((DIGITS / "images").iterdir())

_DIRECTORY = tempfile.TemporaryDirectory(prefix="natdeploy-command-line-")

# What only exporting and verifying against a checkpoint need, and what nobody needs who asks for help.
TORCH = ("torch", "onnxscript", "safetensors", "transformers", "huggingface_hub")
EVERYTHING = (*TORCH, "onnx", "onnx_ir", "onnxruntime", "numpy", "PIL", "rich", "jsonschema", "google")


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as strict JSON; anything else on it is an error."""
        return json.loads(self.out, parse_constant=lambda name: 1 / 0)


def run(*arguments: object) -> Result:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.run([str(argument) for argument in arguments])
    return Result(status, out.getvalue(), err.getvalue())


def command_of(arguments: Sequence[object], blocked: Sequence[str] = (), before: str = "") -> list[str]:
    """Give the command line of a process that runs a command.

    Args:
        arguments: Of ``natdeploy``.
        blocked: Modules that cannot be imported in it.
        before: Python code to run first.
    """
    block = f"import sys; sys.modules.update(dict.fromkeys({list(blocked)!r}))"
    code = f"{block}\n{before}\nfrom natdeploy.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def run_process(
    *arguments: object, blocked: Sequence[str] = (), before: str = "", env: dict[str, str] | None = None, **how: Any
) -> Result:
    """Run a command in a process of its own."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8", **how}
    done = subprocess.run(command_of(arguments, blocked, before), env={**os.environ, **(env or {})}, **streams)
    return Result(done.returncode, done.stdout or "", done.stderr or "")


def _made(*arguments: object, name: str) -> Path:
    path = Path(_DIRECTORY.name) / name
    result = run(*arguments, "-o", path)
    assert result.status == 0, result.err
    return path


@cache
def digits_onnx() -> Path:
    """The digits checkpoint, as a plain export gives it: 32x32, any batch, hybrid."""
    return _made("export", DIGITS, name="digits.onnx")


@cache
def two_outputs_onnx() -> Path:
    """Digits at 40x32 with two outputs."""
    return _made("export", DIGITS, "--image-size", "40x32", "--outputs", "logits,pooled", name="two.onnx")


@cache
def dynamic_onnx() -> Path:
    """Digits for sizes from 40 to 72, which leave the trained 32 out, and a batch of 3."""
    return _made("export", DIGITS, "--dynamic-size", "40:72", "--batch", "3", name="dynamic.onnx")


@cache
def plugin_onnx() -> Path:
    """The plugin form of digits."""
    return _made("lower", digits_onnx(), "--form", "plugin", name="plugin.onnx")


@cache
def portable_onnx() -> Path:
    """The portable form of digits."""
    return _made("lower", digits_onnx(), name="portable.onnx")


def edited(source: Path, target: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """Write a changed copy of an ONNX file."""
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


def edit_metadata(model: onnx.ModelProto, change: Callable[[dict[str, Any]], object]) -> None:
    """Pass the metadata document of a model through ``change``."""
    (entry,) = (entry for entry in model.metadata_props if entry.key == "natdeploy")
    document = json.loads(entry.value)
    change(document)
    entry.value = json.dumps(document)


def edit_weight(model: onnx.ModelProto, name: str, change: Callable[[Any], object]) -> None:
    """Pass one weight, as a writable array, through ``change``."""
    (weight,) = (weight for weight in model.graph.initializer if weight.name == name)
    array = onnx.numpy_helper.to_array(weight).copy()
    change(array)
    weight.CopyFrom(onnx.numpy_helper.from_array(array, name))


def add_to_first(amount: float) -> Callable[[Any], None]:
    """A change of one number of a weight."""

    def change(array: Any) -> None:
        array.flat[0] += amount

    return change


def one_paragraph(result: Result, *parts: str) -> None:
    """Assert that a command failed as a user may expect: status 1, one line on stderr, nothing on stdout."""
    assert result.status == 1, result.err
    assert result.out == ""
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.err.splitlines()[-1:] == errors, result.err
    assert "Traceback" not in result.err
    assert "natdeploy.environment" not in result.err  # the advice for our bugs
    for part in parts:
        assert part in errors[0], errors[0]
