"""Exports shared by the tests: each costs seconds, so one session makes each once."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from golden import GOLDEN

from natdeploy.checkpoints import Checkpoint, weights_from_checkpoint
from natdeploy.onnx_files.export import onnx_from_checkpoint
from natdeploy.onnx_files.lower import lowered_from_onnx
from natdeploy.onnx_files.settings import ExportSettings

_DIRECTORY = tempfile.TemporaryDirectory(prefix="natdeploy-exports-")


@cache
def golden_checkpoint(name: str) -> Checkpoint:
    """Read a golden checkpoint."""
    return weights_from_checkpoint(GOLDEN / name)


@cache
def exported(name: str, settings: ExportSettings) -> Path:
    """Export a golden checkpoint; other forms than hybrid are lowered from it, as a user would."""
    path = Path(_DIRECTORY.name) / f"{name}-{abs(hash(settings)):x}.onnx"
    if settings.form == "hybrid":
        onnx_from_checkpoint(golden_checkpoint(name), path, settings)
    else:
        plain = ExportSettings(**{**settings.__dict__, "form": "hybrid"})
        lowered_from_onnx(exported(name, plain), path, settings.form, settings.external_data)
    return path


def run(path: Path, pixel_values: npt.NDArray[np.float32], outputs: list[str] | None = None) -> dict[str, npt.NDArray]:
    """Run a file in a stock ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = outputs or [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixel_values": pixel_values}), strict=True))


def error(reference: npt.NDArray, found: npt.NDArray) -> float:
    """Largest difference over the reference's standard deviation: the figure of docs/design.md."""
    assert found.shape == reference.shape
    return float(np.abs(found - reference).max() / reference.std())
