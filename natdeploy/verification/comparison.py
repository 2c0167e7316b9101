"""Comparing one array with its reference: figures first, then a verdict that can say no."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from natdeploy.runners.protocol import Array


@dataclass(frozen=True)
class Comparison:
    """How far one output is from its reference.

    Args:
        name: Of the output.
        shape: Of the reference.
        tolerance: Largest error that passes, as a share of the reference's standard deviation.
        error: Largest absolute difference over the reference's standard deviation; infinite for NaN.
        max_absolute: Largest absolute difference.
        max_relative: Largest difference over the reference's own magnitude (where that is over 1 % of the deviation).
        cosine: Cosine of the angle between both, as vectors.
        top1_agreement: Share of rows whose largest value stands at the same place; None unless the output has rows.
        failure: Why it disagrees, beginning with the kind of disagreement; None where it agrees.
    """

    name: str
    shape: tuple[int, ...]
    tolerance: float
    error: float = math.inf
    max_absolute: float = math.inf
    max_relative: float = math.inf
    cosine: float = math.nan
    top1_agreement: float | None = None
    failure: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether nothing is wrong."""
        return self.failure is None


def compare(name: str, reference: Array, candidate: Array | None, tolerance: float) -> Comparison:
    """Compare an output with its reference.

    A missing output, another shape, another kind of dtype, and NaN or infinity that the reference has not (or has
    elsewhere) are each a disagreement of their own; only then do the numbers count.
    """
    base = Comparison(name, tuple(reference.shape), tolerance)
    if candidate is None:
        return _failed(base, "missing: the candidate does not give this output")
    if candidate.shape != reference.shape:
        return _failed(base, f"shape: {_shape(candidate)} instead of {_shape(reference)}")
    if candidate.dtype.kind != reference.dtype.kind:
        return _failed(base, f"dtype: {candidate.dtype} instead of {reference.dtype}")
    wanted, got = reference.astype(np.float64), candidate.astype(np.float64)
    same_non_finite = np.array_equal(np.where(np.isfinite(wanted), 0, wanted), np.where(np.isfinite(got), 0, got), True)
    if not same_non_finite:
        count = int((~np.isfinite(got)).sum())
        return _failed(base, f"non-finite: {count} of {got.size} values are NaN or infinite, unlike the reference")
    finite = np.isfinite(wanted)
    return _measured(base, wanted, got, finite)


def _measured(base: Comparison, wanted: Array, got: Array, finite: Array) -> Comparison:
    difference = np.abs(np.where(finite, got - np.where(finite, wanted, 0), 0)) if wanted.size else np.zeros(1)
    known = wanted[finite]
    deviation = _deviation(known)
    large = finite & (np.abs(wanted) > 0.01 * deviation)
    error = float(difference.max()) / deviation
    relative = float((difference[large] / np.abs(wanted[large])).max()) if wanted.size and large.any() else 0.0
    failure = None
    if not error <= base.tolerance:
        failure = (
            f"numbers: error {error:.2e} is over the tolerance {base.tolerance:.2e}; {passing(error):.0e} would pass"
        )
    return Comparison(
        name=base.name,
        shape=base.shape,
        tolerance=base.tolerance,
        error=error,
        max_absolute=float(difference.max()),
        max_relative=relative,
        cosine=_cosine(known, got[finite]),
        top1_agreement=_top1(wanted, got),
        failure=failure,
    )


def passing(error: float) -> float:
    """Give the tolerance, rounded up to one digit, that would have passed ``error``."""
    if error <= 0 or not math.isfinite(error):
        return error
    step = 10.0 ** math.floor(math.log10(error))
    return math.ceil(error / step) * step


def _deviation(known: Array) -> float:
    """Scale of the reference: its standard deviation, its magnitude where it is constant, or 1 where it is zero."""
    deviation = float(known.std()) if known.size else 0.0
    if deviation > 0:
        return deviation
    magnitude = float(np.abs(known).max()) if known.size else 0.0
    return magnitude or 1.0


def _cosine(a: Array, b: Array) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.dot(a.ravel(), b.ravel())) / norms if norms else 1.0


def _top1(wanted: Array, got: Array) -> float | None:
    if wanted.ndim != 2 or not wanted.size:
        return None
    return float((wanted.argmax(-1) == got.argmax(-1)).mean())


def _failed(base: Comparison, failure: str) -> Comparison:
    return Comparison(base.name, base.shape, base.tolerance, failure=failure)


def _shape(array: Array) -> str:
    return "x".join(map(str, array.shape)) or "a scalar"
