"""The first bytes of a plan: which TensorRT built it, and whether the file is whole. Needs no TensorRT."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from natdeploy.engines.backends import BACKENDS, TENSORRT_RTX, Backend
from natdeploy.errors import NatdeployError
from natdeploy.ordinary_files import refuse_special_file

_SIZE = 32
_WHOLE_SIZE = struct.Struct("<Q")  # at 16, in plans of TensorRT for RTX 1.7: bytes of the whole plan


@dataclass(frozen=True)
class PlanHeader:
    """What a plan's beginning tells.

    Args:
        backend: Which TensorRT built it.
        version: Major, minor, patch and build, as the four bytes at 24 have them (``1.7.1.116``); a build number is
            told modulo 256.
        size_bytes: Of the file.
    """

    backend: Backend
    version: str
    size_bytes: int


def header_from_plan(path: Path) -> PlanHeader:
    """Read the header.

    Raises:
        NatdeployError: If there is no such file, it is no plan, or it is cut off.
    """
    refuse_special_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_SIZE)
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no plan '{path}'") from error
    except OSError as error:
        raise NatdeployError(f"cannot read '{path}'", got=error.strerror) from error
    backend = next((backend for backend in BACKENDS.values() if start[:4] == backend.tag), None)
    if backend is None:
        raise NatdeployError(
            f"'{path}' is no TensorRT plan",
            got=f"a file of {size} bytes that begins with {start[:4]!r}" if start else "an empty file",
            next_step="Build one with `natdeploy build-engine model.onnx -o model.plan`",
        )
    whole = _WHOLE_SIZE.unpack_from(start, 16)[0] if len(start) == _SIZE and backend is TENSORRT_RTX else size
    if len(start) < _SIZE or size < whole:
        needed = f"{whole} bytes, as its header says" if len(start) == _SIZE else f"at least {_SIZE} bytes"
        raise NatdeployError(
            f"'{path}' is a plan that was cut off",
            got=f"{size} bytes",
            needed=needed,
            next_step="Copy it again, or build it again with `natdeploy build-engine`",
        )
    return PlanHeader(backend, ".".join(str(byte) for byte in start[24:28]), size)
