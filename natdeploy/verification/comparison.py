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
    """Compare one batch of an output with its reference; see :class:`Tally`."""
    tally = Tally(name, tolerance, dtype)
    tally.add(reference, candidate)
    return tally.comparison()


class Tally:
    """Compares an output with its reference batch by batch, as if all were one batch; keeps figures, not arrays.

    A missing output, another shape, another dtype, and NaN or infinity (on either side: they prove nothing) are each
    a disagreement of their own; only then do the numbers count.

    Args:
        name: Of the output.
        tolerance: Largest error that passes, as a share of the reference's standard deviation.
        dtype: What the candidate's must be; of the reference's kind where None.
    """

    def __init__(self, name: str, tolerance: float, dtype: str | None = None) -> None:
        self._name, self._tolerance, self._dtype = name, tolerance, dtype
        self._shapes: list[tuple[int, ...]] = []
        self._failure: str | None = None
        self._mean = self._squares = 0.0  # of the reference; squares of its deviations from the mean
        self._largest = self._max_absolute = self._max_relative = 0.0
        self._products = self._wanted_norm = self._got_norm = 0.0
        self._right = self._rows = 0

    def add(self, reference: Array, candidate: Array | None) -> None:
        """Take one batch; ``candidate`` is None if it was not computed. After the first failure nothing counts."""
        if self._failure is not None:
            return
        self._failure = self._difference_in_kind(reference, candidate)
        if self._failure is not None or candidate is None:
            self._shapes = [tuple(reference.shape)]
            return
        self._measure(reference.astype(np.float64), candidate.astype(np.float64))
        self._shapes.append(tuple(reference.shape))

    def comparison(self) -> Comparison:
        """Give the verdict on all batches."""
        base = Comparison(self._name, self._shape(), self._tolerance, failure=self._failure)
        if self._failure is not None:
            return base
        error = self._max_absolute / self._deviation()
        failure = None
        if not error <= self._tolerance:
            limit, would_do = f"{self._tolerance:.2e}", f"{passing(error):.0e}"
            failure = f"numbers: error {error:.2e} is over the tolerance {limit}; {would_do} would pass"
        norms = math.sqrt(self._wanted_norm * self._got_norm)
        return replace(
            base,
            error=error,
            max_absolute=self._max_absolute,
            max_relative=self._max_relative,
            cosine=self._products / norms if norms else float(self._wanted_norm == self._got_norm),
            top1_agreement=self._right / self._rows if self._rows else None,
            failure=failure,
        )

    def _difference_in_kind(self, reference: Array, candidate: Array | None) -> str | None:
        if candidate is None:
            return "missing: the candidate does not give this output"
        if candidate.shape != reference.shape:
            return f"shape: {_shape(candidate.shape)} instead of {_shape(reference.shape)}"
        if candidate.dtype.kind != reference.dtype.kind or (self._dtype is not None and candidate.dtype != self._dtype):
            return f"dtype: {candidate.dtype} instead of {self._dtype or reference.dtype}"
        for side, array in (("candidate", candidate), ("reference", reference)):
            if count := array.size - int(np.isfinite(array).sum()):
                return f"non-finite: {count} of {array.size} values of the {side} are NaN or infinite"
        return None if reference.size else "shape: without values there is nothing to compare"

    def _measure(self, wanted: Array, got: Array) -> None:
        before = sum(math.prod(shape) for shape in self._shapes)
        mean, squares = float(wanted.mean()), float(wanted.var()) * wanted.size
        # Mean and squares of two parts together (Chan, Golub and LeVeque 1979).
        self._squares += squares + (mean - self._mean) ** 2 * before * wanted.size / (before + wanted.size)
        self._mean += (mean - self._mean) * wanted.size / (before + wanted.size)
        difference, magnitude = np.abs(got - wanted), np.abs(wanted)
        self._largest = max(self._largest, float(magnitude.max()))
        self._max_absolute = max(self._max_absolute, float(difference.max()))
        large = magnitude > 0.01 * float(wanted.std())
        if large.any():
            self._max_relative = max(self._max_relative, float((difference[large] / magnitude[large]).max()))
        self._products += float(np.dot(wanted.ravel(), got.ravel()))
        self._wanted_norm += float(np.dot(wanted.ravel(), wanted.ravel()))
        self._got_norm += float(np.dot(got.ravel(), got.ravel()))
        if self._name == "logits":
            self._right += int((wanted.argmax(-1) == got.argmax(-1)).sum())
            self._rows += math.prod(wanted.shape[:-1])

    def _deviation(self) -> float:
        """Scale of the reference: its standard deviation, its magnitude where it is constant, or 1 where it is zero."""
        deviation = math.sqrt(self._squares / sum(math.prod(shape) for shape in self._shapes))
        return deviation if deviation > 1e-12 * self._largest else self._largest or 1.0

    def _shape(self) -> tuple[int, ...]:
        """Shape of all batches together; of maps of several sizes, the number of values."""
        first = self._shapes[0]
        if len(self._shapes) == 1:
            return first
        if first and all(shape[1:] == first[1:] for shape in self._shapes):
            return (sum(shape[0] for shape in self._shapes), *first[1:])
        return (sum(math.prod(shape) for shape in self._shapes),)


def passing(error: float) -> float:
    """Give the smallest tolerance of one digit that would have passed ``error``."""
    if error <= 0 or not math.isfinite(error):
        return error
    step = 10.0 ** math.floor(math.log10(error))
    digits = math.ceil(error / step)
    while (tolerance := float(f"{digits * step:.0e}")) < error:  # the division may have rounded down
        digits += 1
    return tolerance


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
