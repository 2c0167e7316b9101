"""Inputs and outputs recorded once, to be compared with where the reference itself cannot run (a Jetson, a server).

The file is a plain ``.npz``: ``pixel_values``, every output under its name, and the reference's name, environment and
hash of its weights as JSON under ``natdeploy.reference``. Any ``.npz`` with ``pixel_values`` and outputs will do.
"""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import writing_beside
from natdeploy.runners.protocol import Array, Runner, SizeLimits, TensorSpec

_REFERENCE = "natdeploy.reference"

# What numpy and zipfile raise on damaged or hostile bytes; objects that would have to be unpickled are a ValueError.
_DAMAGED = (OSError, ValueError, EOFError, TypeError, AttributeError, LookupError, RuntimeError, NotImplementedError,
            SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)  # fmt: skip


def arrays_from_npz(path: Path) -> dict[str, Array]:
    """Read every array of an ``.npz`` file; nothing in it can run code.

    Raises:
        NatdeployError: If the file is missing, damaged, or lacks usable ``pixel_values``.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no file '{path}'") from error
    except _DAMAGED as error:
        raise NatdeployError(
            f"cannot read '{path}' as an .npz file",
            got=" ".join(str(error).split())[:300] or type(error).__name__,
            needed="arrays of numbers, as numpy.savez(FILE, pixel_values=...) writes them",
        ) from error
    if "pixel_values" not in arrays:
        raise NatdeployError(
            f"'{path}' has no array 'pixel_values'", got=", ".join(sorted(arrays)) or "no arrays at all"
        )
    arrays["pixel_values"] = _checked_pixels(arrays["pixel_values"], path)
    return arrays


def _checked_pixels(pixels: Array, path: Path) -> Array:
    problem = None
    if pixels.ndim != 4 or pixels.dtype.kind != "f":
        problem = f"{pixels.dtype} {list(pixels.shape)}"
    elif not pixels.size:
        problem = f"no pixels: {list(pixels.shape)}"
    elif not np.isfinite(pixels).all():
        problem = "NaN or infinity among them, with which every output would agree"
    if problem is not None:
        raise NatdeployError(
            f"'pixel_values' in '{path}' are no images", got=problem, needed="float32 [batch, channels, height, width]"
        )
    return pixels.astype(np.float32, copy=False)


def record_reference(
    path: Path, runner: Runner, inputs: Mapping[str, Array], outputs: Mapping[str, Array], sha256: str | None = None
) -> None:
    """Write inputs and a reference's outputs; beside the target first, then renamed.

    Raises:
        NatdeployError: If the target cannot be written.
    """
    about = {"name": runner.name, "environment": runner.environment(), "checkpoint_sha256": sha256}
    with writing_beside(path) as directory:
        target = directory / "reference.npz"
        document = np.array(json.dumps(about, sort_keys=True))
        arrays: dict[str, Any] = {_REFERENCE: document, **inputs, **outputs}
        np.savez_compressed(target, **arrays)
        target.replace(path)


class RecordedRunner:
    """Plays recorded outputs back (see :class:`natdeploy.runners.protocol.Runner`).

    Args:
        path: The ``.npz`` file.
        outputs: Outputs to compare; all recorded ones where empty.

    Attributes:
        checkpoint_sha256: Hash of the weights of the reference; None where the recording does not say.

    Raises:
        NatdeployError: If the file cannot be read, or lacks one of the outputs.
    """

    probes: tuple[str, ...] = ()
    size_limits: SizeLimits | None = None

    def __init__(self, path: str | Path, outputs: Sequence[str] = ()) -> None:
        path = Path(path)
        self._arrays = arrays_from_npz(path)
        about = _about(self._arrays.pop(_REFERENCE, None))
        pixels = self._arrays["pixel_values"]
        recorded = [name for name, array in self._arrays.items() if name != "pixel_values" and array.dtype.kind == "f"]
        if missing := [name for name in outputs if name not in recorded]:
            raise NatdeployError(
                f"'{path.name}' does not have the outputs that are to be verified",
                got=", ".join(recorded) or "no outputs",
                needed=", ".join(missing),
                next_step="Record it again with `natdeploy verify ... --save-reference`",
            )
        self.name = f"{about.get('name', 'recorded outputs')} (recorded in {path.name})"
        self.checkpoint_sha256 = sha256 if isinstance(sha256 := about.get("checkpoint_sha256"), str) else None
        environment = about.get("environment")
        self._environment = {str(k): str(v) for k, v in environment.items()} if isinstance(environment, dict) else {}
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


def _about(document: Array | None) -> dict[str, Any]:
    """Read what the recording says of itself; nothing where it is not one of ours."""
    try:
        about = json.loads(str(document)) if document is not None else {}
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}
