"""Rounding against torch's, and the edges of the half types."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from natdeploy.precision.weights import Rounding, largest, overflow, rounded

TYPES = {ir.DataType.FLOAT16: torch.float16, ir.DataType.BFLOAT16: torch.bfloat16}


def wide_numbers():
    """Numbers of all magnitudes, ties between two half numbers among them."""
    generator = np.random.default_rng(0)
    spread = generator.standard_normal(20000) * 10.0 ** generator.uniform(-45, 38, 20000)
    ties = np.arange(2048, 4096, dtype=np.float64) + 0.5
    return np.concatenate([spread, ties, [0.0, -0.0, 6e-8, 65504, -65519.99]]).astype(np.float32)


@pytest.mark.parametrize("dtype", TYPES)
def test_rounding_is_torchs(dtype):
    numbers = wide_numbers()
    half, rounding = rounded(numbers, dtype)
    expected = torch.from_numpy(numbers).to(TYPES[dtype])
    assert half.dtype == dtype.numpy()
    assert (half.astype(np.float32) == expected.float().numpy()).all()
    limits = torch.finfo(TYPES[dtype])
    magnitude = expected.double().abs()
    assert rounding == Rounding(
        numbers=numbers.size,
        subnormal=int(((magnitude > 0) & (magnitude < limits.smallest_normal)).sum()),
        zero=int(((magnitude == 0) & (torch.from_numpy(numbers) != 0)).sum()),
        non_finite=0,
    )
    assert rounding.zero > 10
    assert rounding.subnormal > 10
    assert largest(dtype) == limits.max


@pytest.mark.parametrize(
    ("dtype", "numbers", "expected"),
    [
        (ir.DataType.FLOAT16, [1, -65504], None),
        (ir.DataType.FLOAT16, [65519.9], None),  # rounds down to 65504
        (ir.DataType.FLOAT16, [1, -65520, 2], 65520),  # a tie, which rounds to infinity
        (ir.DataType.FLOAT16, [np.inf, -np.inf, np.nan, 3], None),  # as they were
        (ir.DataType.FLOAT16, [], None),
        (ir.DataType.BFLOAT16, [1e5, 3.389e38], None),
        (ir.DataType.BFLOAT16, [3.4e38], 3.4e38),
    ],
)
def test_overflow_begins_where_rounding_gives_infinity(dtype, numbers, expected):
    found = overflow(np.array(numbers, np.float32), dtype)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-6))


def test_what_was_no_number_is_counted_and_sums_add_up():
    numbers = np.array([np.nan, np.inf, 1, 1e-9], np.float32)
    _, rounding = rounded(numbers, ir.DataType.FLOAT16)
    assert rounding == Rounding(numbers=4, zero=1, non_finite=2)
    assert rounding + Rounding(1, 2, 3, 4) == Rounding(5, 2, 4, 6)
