"""One array against its reference: figures checked by hand, and every way to fail."""

import math

import numpy as np
import pytest

from natdeploy.verification.comparison import Tally, compare, passing


def array(*values, dtype=np.float64):
    return np.array(values, dtype)


def test_figures_by_hand():
    reference = array([0, 0, 4, 0], [0, 8, 0, 0])
    candidate = array([0, 1, 4, 0], [0, 8, 0, -2], dtype=np.float32)
    found = compare("logits", reference, candidate, tolerance=1.0)
    deviation = math.sqrt(80 / 8 - 1.5**2)
    assert found.error == pytest.approx(2 / deviation)
    assert (found.max_absolute, found.max_relative) == (2, 0)  # relative only where the reference is not nearly zero
    assert found.cosine == pytest.approx(80 / math.sqrt(80 * 85))
    assert found.top1_agreement == 1.0
    assert found.agrees
    assert found.verdict == "agrees"


def test_top1_counts_rows_of_logits_only():
    reference, candidate = np.eye(4, 5), np.eye(4, 5)[[0, 1, 3, 2]]
    assert compare("logits", reference, candidate, 9).top1_agreement == 0.5
    assert compare("pooled", reference, candidate, 9).top1_agreement is None


def test_relative_error():
    found = compare("x", array(10, 20, -30), array(10, 21, -33), 1)
    assert (found.max_absolute, found.max_relative) == (3, pytest.approx(0.1))


@pytest.mark.parametrize("value, scale", [(5.0, 5.0), (-5.0, 5.0), (0.0, 1.0)])
def test_a_constant_reference_has_its_magnitude_as_scale(value, scale):
    found = compare("x", np.full((3, 2), value), np.full((3, 2), value + 1), 10)
    assert found.error == pytest.approx(1 / scale)


def test_the_limit_itself_passes():
    reference = array(1, -1)  # deviation 1
    assert compare("x", reference, reference + 0.25, 0.25).agrees
    failed = compare("x", reference, reference + 0.25, 0.2499)
    assert not failed.agrees
    assert failed.failure == "numbers: error 2.50e-01 is over the tolerance 2.50e-01; 3e-01 would pass"
    assert failed.verdict == "numbers"


def test_equal_is_zero():
    found = compare("x", array(1, 2), array(1, 2), 0)
    assert found.agrees
    assert (found.error, found.cosine) == (0, pytest.approx(1))


@pytest.mark.parametrize(
    "reference, candidate, verdict",
    [
        (array(1, 2), None, "missing"),
        (array(1, 2), array(1, 2, 3), "shape"),
        (array([1, 2]), array(1, 2), "shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "shape"),
        (array(1, 2), np.array([1, 2]), "dtype"),
        (array(1, 2), array(1, np.nan), "non-finite"),
        (array(1, 2), array(np.inf, 2), "non-finite"),
        (array(1, np.nan), array(1, 2), "non-finite"),
        (array(1, np.nan), array(1, np.nan), "non-finite"),
        (array(-np.inf, 2), array(-np.inf, 2), "non-finite"),
        (array(1, 2), array(2, 1), "numbers"),
    ],
)
def test_failures_by_name(reference, candidate, verdict):
    found = compare("x", reference, candidate, tolerance=0.5)
    assert (found.verdict, found.agrees) == (verdict, False)
    assert found.error == (pytest.approx(2) if verdict == "numbers" else math.inf)


def test_a_dtype_may_be_demanded():
    values = array(1, 2)
    assert compare("x", values, values.astype(np.float16), 1).agrees
    failed = compare("x", values, values.astype(np.float16), 1, dtype="float32")
    assert failed.failure == "dtype: float16 instead of float32"
    assert compare("x", values, values.astype(np.float32), 1, dtype="float32").agrees


def test_the_passing_tolerance_is_one_digit_and_passes():
    assert [passing(e) for e in (1.01e-4, 9.5e-5, 2e-3, 0.3, 0.0, math.inf)] == [2e-4, 1e-4, 2e-3, 0.3, 0.0, math.inf]
    for error in 10 ** np.random.default_rng(0).uniform(-9, 3, 5000):
        text = f"{passing(error):.0e}"
        assert error <= float(text) <= 2 * error
        assert float(text) == passing(error)


@pytest.mark.parametrize("offset, factor", [(0, 1), (1000, 1), (-3, 1e-6), (0.1, 0)])
def test_many_batches_give_what_one_gives(offset, factor):
    generator = np.random.default_rng(2)
    wanted = generator.standard_normal((23, 7)) * factor + offset
    got = (wanted + generator.standard_normal((23, 7)) * 1e-3).astype(np.float32)
    tally = Tally("logits", 1.0)
    for first, last in ((0, 1), (1, 16), (16, 23)):
        tally.add(wanted[first:last], got[first:last])
    batches, whole = tally.comparison(), compare("logits", wanted, got, 1.0)
    assert batches.shape == whole.shape == (23, 7)
    for figure in ("error", "max_absolute", "cosine", "top1_agreement"):
        assert getattr(batches, figure) == pytest.approx(getattr(whole, figure), rel=1e-9), figure
    assert batches.agrees is whole.agrees
    if factor:
        assert whole.error == pytest.approx(np.abs(got - wanted).max() / wanted.std())


def test_a_failure_in_one_batch_stays():
    tally = Tally("x", 1.0)
    tally.add(np.ones((2, 3)), np.ones((2, 3)))
    tally.add(np.ones((4, 3)), np.full((4, 3), np.nan))
    tally.add(np.ones((5, 3)), np.ones((5, 3)))
    found = tally.comparison()
    assert (found.verdict, found.shape) == ("non-finite", (4, 3))
    assert "12 of 12 values of the candidate" in found.failure
