"""Weights in a half type: which of them it cannot hold, and what rounding costs the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rounding:
    """What became of the numbers of some weights.

    Args:
        numbers: How many there are.
        subnormal: How many are stored with fewer digits than the type has, being small (float16: under 6.1e-5).
        zero: How many that were not zero are now (float16: under 3.0e-8).
        non_finite: How many were NaN or infinite before.
    """

    numbers: int = 0
    subnormal: int = 0
    zero: int = 0
    non_finite: int = 0

    def __add__(self, other: Rounding) -> Rounding:
        return Rounding(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


_limits: Callable[..., Any] = ml_dtypes.finfo


def largest(dtype: ir.DataType) -> float:
    """Give the largest number of a float type: float16 65504, bfloat16 3.39e38."""
    return float(_limits(dtype.numpy()).max)


def overflow(array: Array, dtype: ir.DataType) -> float | None:
    """Give the largest magnitude of ``array`` if rounding to ``dtype`` makes an infinity of it, else None."""
    magnitude = float(np.abs(array, where=np.isfinite(array), out=np.zeros_like(array)).max(initial=0.0))
    with np.errstate(over="ignore"):
        return None if np.isfinite(np.float32(magnitude).astype(dtype.numpy())) else magnitude


def rounded(array: Array, dtype: ir.DataType) -> tuple[npt.NDArray[np.generic], Rounding]:
    """Round to the nearest number of ``dtype``, to even where two are as near; also what it cost."""
    with np.errstate(over="ignore"):
        half = array.astype(dtype.numpy())
    magnitude, smallest = np.abs(half.astype(np.float32)), float(_limits(dtype.numpy()).smallest_normal)
    return half, Rounding(
        numbers=array.size,
        subnormal=int(((magnitude > 0) & (magnitude < smallest)).sum()),
        zero=int(((magnitude == 0) & (array != 0)).sum()),
        non_finite=int((~np.isfinite(array)).sum()),
    )


def overflowing(values: Iterable[ir.Value], dtype: ir.DataType) -> dict[ir.Value, float]:
    """Give the constants that ``dtype`` cannot hold, with their largest magnitude."""
    found = {}
    for value in values:
        tensor = ir.convenience.get_const_tensor(value)
        magnitude = None if tensor is None else overflow(np.asarray(tensor.numpy(), np.float32), dtype)
        if magnitude is not None:
            found[value] = magnitude
    return found
