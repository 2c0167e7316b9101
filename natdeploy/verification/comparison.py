"""Comparing one array with its reference: figures first, then a verdict that can say no."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from natdeploy.runners.protocol import Array


@dataclass(frozen=True)
class Comparison:
    """How far one output is from its reference.

    Args:
        name: Of the output.
        shape: Of the reference.
        tolerance: Largest error that passes, as a share of the reference's standard deviation.
        error: Largest absolute difference over the reference's standard deviation; infinite where not comparable.
        max_absolute: Largest absolute difference.
        max_relative: Largest difference over the reference's own magnitude (where that is over 1 % of the deviation).
        cosine: Cosine of the angle between both, as vectors.
        top1_agreement: Share of images with the same best class; None for outputs other than ``logits``.
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

    @property
    def verdict(self) -> str:
        """``agrees``, or the kind of disagreement: missing, unexpected, order, shape, dtype, non-finite, numbers."""
        return "agrees" if self.failure is None else self.failure.split(":")[0]


def compare(
    name: str, reference: Array, candidate: Array | None, tolerance: float, dtype: str | None = None
) -> Comparison:
    """Compare an output with its reference.

    A missing output, another shape, another dtype, and NaN or infinity (on either side: they prove nothing) are each
    a disagreement of their own; only then do the numbers count.

    Args:
        name: Of the output.
        reference: What is right.
        candidate: What was computed; None if it was not.
        tolerance: Largest error that passes, as a share of the reference's standard deviation.
        dtype: What the candidate's must be; of the reference's kind where None.
    """
    base = Comparison(name, tuple(reference.shape), tolerance)
    if candidate is None:
        return _failed(base, "missing: the candidate does not give this output")
    if candidate.shape != reference.shape:
        return _failed(base, f"shape: {_shape(candidate)} instead of {_shape(reference)}")
    if candidate.dtype.kind != reference.dtype.kind or (dtype is not None and candidate.dtype != dtype):
        return _failed(base, f"dtype: {candidate.dtype} instead of {dtype or reference.dtype}")
    for side, array in (("candidate", candidate), ("reference", reference)):
        if count := array.size - int(np.isfinite(array).sum()):
            return _failed(base, f"non-finite: {count} of {array.size} values of the {side} are NaN or infinite")
    if not reference.size:
        return _failed(base, "shape: without values there is nothing to compare")
    return _measured(base, reference.astype(np.float64), candidate.astype(np.float64))


def _measured(base: Comparison, wanted: Array, got: Array) -> Comparison:
    difference = np.abs(got - wanted)
    deviation = _deviation(wanted)
    large = np.abs(wanted) > 0.01 * deviation
    error = float(difference.max()) / deviation
    failure = None
    if not error <= base.tolerance:
        failure = (
            f"numbers: error {error:.2e} is over the tolerance {base.tolerance:.2e}; {passing(error):.0e} would pass"
        )
    return replace(
        base,
        error=error,
        max_absolute=float(difference.max()),
        max_relative=float((difference[large] / np.abs(wanted[large])).max()) if large.any() else 0.0,
        cosine=_cosine(wanted, got),
        top1_agreement=float((wanted.argmax(-1) == got.argmax(-1)).mean()) if base.name == "logits" else None,
        failure=failure,
    )


def passing(error: float) -> float:
    """Give the smallest tolerance of one digit that would have passed ``error``."""
    if error <= 0 or not math.isfinite(error):
        return error
    step = 10.0 ** math.floor(math.log10(error))
    digits = math.ceil(error / step)
    while (tolerance := float(f"{digits * step:.0e}")) < error:  # the division may have rounded down
        digits += 1
    return tolerance


def _deviation(known: Array) -> float:
    """Scale of the reference: its standard deviation, its magnitude where it is constant, or 1 where it is zero."""
    return float(known.std()) or float(np.abs(known).max()) or 1.0


def _cosine(a: Array, b: Array) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.dot(a.ravel(), b.ravel())) / norms if norms else float(not a.any() and not b.any())


def _failed(base: Comparison, failure: str) -> Comparison:
    return replace(base, failure=failure)


def _shape(array: Array) -> str:
    return "x".join(map(str, array.shape)) or "a scalar"
