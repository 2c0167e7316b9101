"""The GPU that CUDA would use, asked of the driver alone: no CUDA toolkit, no context, nothing allocated."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# CUdevice_attribute of cuda.h
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76


@dataclass(frozen=True)
class Gpu:
    """What an engine is tied to.

    Args:
        name: As the driver tells it.
        compute_capability: ``9.0``.
        multiprocessors: How many.
        driver: Newest CUDA that the driver runs, ``13.0``.
    """

    name: str
    compute_capability: str
    multiprocessors: int
    driver: str


def visible_gpu() -> Gpu | None:
    """Give CUDA's first visible device; None without a driver or a device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, driver = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return None
    cuda.cuDriverGetVersion(ctypes.byref(driver))
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), 0)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), number, 0)
        return value.value

    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        multiprocessors=attribute(_MULTIPROCESSORS),
        driver=f"{driver.value // 1000}.{driver.value % 1000 // 10}",
    )
