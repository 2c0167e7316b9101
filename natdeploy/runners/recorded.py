"""Inputs and outputs recorded once, to be compared with where the reference itself cannot run (a Jetson, a server).

The file is a plain ``.npz``: ``pixel_values``, every output under its name, and the reference's name, environment and
hash of its weights as JSON under ``natdeploy.reference``. Further batches have their number in front:
``batch2/pixel_values``. Any ``.npz`` with ``pixel_values`` and outputs will do.
"""

from __future__ import annotations

import itertools
import json
import re
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import writing_beside
from natdeploy.ordinary_files import refuse_special_file
from natdeploy.runners.protocol import Array, Runner, SizeLimits, TensorSpec

_REFERENCE = "natdeploy.reference"
_LATER_BATCH = re.compile(r"(batch[0-9]+)/(.+)")

# What numpy and zipfile raise on damaged or hostile bytes; objects that would have to be unpickled are a ValueError.
_DAMAGED = (OSError, ValueError, EOFError, TypeError, AttributeError, LookupError, RuntimeError, NotImplementedError,
            SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)  # fmt: skip


def batches_from_npz(path: Path) -> list[dict[str, Array]]:
    """Read every array of an ``.npz`` file, batch by batch; nothing in it can run code.

    Raises:
        NatdeployError: If the file is missing, damaged, or a batch of it lacks usable ``pixel_values``.
    """
    batches: dict[str, dict[str, Array]] = {"": {}}
    for name, array in _arrays(path).items():
        later = _LATER_BATCH.fullmatch(name)
        batches.setdefault(later[1] if later else "", {})[later[2] if later else name] = array
    for batch, arrays in batches.items():
        where = f"'{path}', {batch}," if batch else f"'{path}'"
        if "pixel_values" not in arrays:
            raise NatdeployError(
                f"{where} has no array 'pixel_values'", got=", ".join(sorted(arrays)) or "no arrays at all"
            )
        arrays["pixel_values"] = _checked_pixels(arrays["pixel_values"], where)
    return list(batches.values())


def _arrays(path: Path) -> dict[str, Array]:
    refuse_special_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no file '{path}'") from error
    except _DAMAGED as error:
        raise NatdeployError(
            f"cannot read '{path}' as an .npz file",
            got=" ".join(str(error).split())[:300] or type(error).__name__,
            needed="arrays of numbers, as numpy.savez(FILE, pixel_values=...) writes them",
        ) from error


def _checked_pixels(pixels: Array, where: str) -> Array:
    problem = None
    if pixels.ndim != 4 or (pixels.dtype.kind != "f" and pixels.dtype != np.uint8):
        problem = f"{pixels.dtype} {list(pixels.shape)}"
    elif not pixels.size:
        problem = f"no pixels: {list(pixels.shape)}"
    elif not np.isfinite(pixels).all():
        problem = "NaN or infinity among them, with which every output would agree"
    if problem is not None:
        raise NatdeployError(
            f"'pixel_values' in {where} are no images",
            got=problem,
            needed="float32 [batch, channels, height, width], or uint8 [batch, height, width, channels] for files that "
            "take pixels",
        )
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32, copy=False)


def record_reference(
    path: Path,
    runner: Runner,
    inputs: Sequence[Mapping[str, Array]],
    outputs: Sequence[Mapping[str, Array]],
    sha256: str | None = None,
) -> None:
    """Write inputs and a reference's outputs, batch by batch; beside the target first, then renamed.

    Raises:
        NatdeployError: If the target cannot be written.
    """
    about = {"name": runner.name, "environment": runner.environment(), "checkpoint_sha256": sha256}
    arrays: dict[str, Any] = {_REFERENCE: np.array(json.dumps(about, sort_keys=True))}
    for number, (given, found) in enumerate(zip(inputs, outputs, strict=True), 1):
        prefix = f"batch{number}/" if number > 1 else ""
        arrays |= {prefix + name: array for name, array in {**given, **found}.items()}
    with writing_beside(path) as directory:
        target = directory / "reference.npz"
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
        self._batches = batches_from_npz(path)
        about = _about(self._batches[0].pop(_REFERENCE, None))
        first, *others = [_float_names(batch) for batch in self._batches]
        recorded = [name for name in first if all(name in names for names in others)]
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
        self.inputs: tuple[TensorSpec, ...] = (self._spec("pixel_values"),)
        self.outputs: tuple[TensorSpec, ...] = tuple(self._spec(name) for name in (outputs or recorded))

    def _spec(self, name: str) -> TensorSpec:
        """Describe one array; its shape is empty, which says nothing, where the batches differ."""
        shapes = {batch[name].shape for batch in self._batches}
        return TensorSpec(name, str(self._batches[0][name].dtype), shapes.pop() if len(shapes) == 1 else ())

    @property
    def recorded_inputs(self) -> list[dict[str, Array]]:
        """The inputs that belong to the outputs, batch by batch."""
        return [{"pixel_values": batch["pixel_values"]} for batch in self._batches]

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Give the recorded outputs; only for the recorded inputs."""
        pixels = inputs["pixel_values"]
        same = (batch for batch in self._batches if batch["pixel_values"] is pixels)  # of the same values, the same one
        equal = (batch for batch in self._batches if np.array_equal(batch["pixel_values"], pixels))
        batch = next(itertools.chain(same, equal), None)
        if batch is None:
            raise NatdeployError("recorded outputs belong to the inputs that they were recorded with")
        return {spec.name: batch[spec.name] for spec in self.outputs}

    def environment(self) -> dict[str, str]:
        """Versions and device of the machine that recorded."""
        return dict(self._environment)


def _float_names(arrays: Mapping[str, Array]) -> list[str]:
    """Name the arrays that can be outputs of ours."""
    return [name for name, array in arrays.items() if name != "pixel_values" and array.dtype.kind == "f"]


def _about(document: Array | None) -> dict[str, Any]:
    """Read what the recording says of itself; nothing where it is not one of ours."""
    try:
        about = json.loads(str(document)) if document is not None else {}
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}
