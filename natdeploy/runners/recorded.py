"""Inputs and outputs recorded once, to be compared with where the reference itself cannot run (a Jetson, a server).

The file is a plain ``.npz``: ``pixel_values``, every output under its name, and the reference's name and environment
as JSON under ``natdeploy.reference``. Any ``.npz`` with ``pixel_values`` and outputs will do.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import writing_beside
from natdeploy.runners.protocol import Array, Runner, SizeLimits, TensorSpec

_REFERENCE = "natdeploy.reference"


def arrays_from_npz(path: Path) -> dict[str, Array]:
    """Read every array of an ``.npz`` file; nothing in it can run code.

    Raises:
        NatdeployError: If the file is missing, damaged, or lacks ``pixel_values``.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no file '{path}'") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise NatdeployError(f"cannot read '{path}' as an .npz file", got=str(error)[:300]) from error
    if "pixel_values" not in arrays:
        raise NatdeployError(
            f"'{path}' has no array 'pixel_values'", got=", ".join(sorted(arrays)) or "no arrays at all"
        )
    pixels = arrays["pixel_values"]
    if pixels.ndim != 4 or pixels.dtype.kind != "f":
        raise NatdeployError(
            f"'pixel_values' in '{path}' are no images",
            got=f"{pixels.dtype} {list(pixels.shape)}",
            needed="float32 [batch, channels, height, width]",
        )
    arrays["pixel_values"] = pixels.astype(np.float32, copy=False)
    return arrays


def record_reference(path: Path, runner: Runner, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Write inputs and a reference's outputs; beside the target first, then renamed.

    Raises:
        NatdeployError: If the target cannot be written.
    """
    about = json.dumps({"name": runner.name, "environment": runner.environment()}, sort_keys=True)
    with writing_beside(path) as directory:
        target = directory / "reference.npz"
        arrays: dict[str, Any] = {_REFERENCE: np.array(about), **inputs, **outputs}
        np.savez_compressed(target, **arrays)
        target.replace(path)


class RecordedRunner:
    """Plays recorded outputs back (see :class:`natdeploy.runners.protocol.Runner`).

    Args:
        path: The ``.npz`` file.
        outputs: Outputs to compare; all recorded ones where empty.

    Raises:
        NatdeployError: If the file cannot be read, or lacks one of the outputs.
    """

    probes: tuple[str, ...] = ()
    size_limits: SizeLimits | None = None

    def __init__(self, path: str | Path, outputs: Sequence[str] = ()) -> None:
        self._arrays = arrays_from_npz(Path(path))
        about = json.loads(str(self._arrays.pop(_REFERENCE))) if _REFERENCE in self._arrays else {}
        pixels = self._arrays["pixel_values"]
        recorded = [name for name in self._arrays if name != "pixel_values"]
        if missing := [name for name in outputs if name not in recorded]:
            raise NatdeployError(
                f"'{Path(path).name}' does not have the outputs that are to be verified",
                got=", ".join(recorded) or "no outputs",
                needed=", ".join(missing),
                next_step="Record it again with `natdeploy verify ... --save-reference`",
            )
        self.name = f"{about.get('name', 'recorded outputs')} (recorded in {Path(path).name})"
        self._environment = {str(k): str(v) for k, v in dict(about.get("environment", {})).items()}
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("pixel_values", "float32", tuple(pixels.shape)),)
        self.outputs: tuple[TensorSpec, ...] = tuple(
            TensorSpec(name, str(self._arrays[name].dtype), tuple(self._arrays[name].shape))
            for name in (outputs or recorded)
        )

    @property
    def recorded_inputs(self) -> dict[str, Array]:
        """The inputs that belong to the outputs."""
        return {"pixel_values": self._arrays["pixel_values"]}

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Give the recorded outputs; only for the recorded inputs."""
        if not np.array_equal(inputs["pixel_values"], self._arrays["pixel_values"]):
            raise NatdeployError("recorded outputs belong to the inputs that they were recorded with")
        return {spec.name: self._arrays[spec.name] for spec in self.outputs}

    def environment(self) -> dict[str, str]:
        """Versions and device of the machine that recorded."""
        return dict(self._environment)
