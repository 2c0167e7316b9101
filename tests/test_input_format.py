"""The forms of pixel_values: orders of axes, and where a size is read from them."""

import numpy as np
import pytest

from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.size_limits import SizeLimits

SHAPES = {"float32-nchw": (2, 3, 40, 64), "uint8-nhwc": (2, 40, 64, 3)}


@pytest.mark.parametrize("name", INPUT_FORMATS)
def test_sizes_come_back_from_a_shape(name):
    assert INPUT_FORMATS[name].shape(2, 3, 40, 64) == SHAPES[name]
    assert INPUT_FORMATS[name].batch_and_size(SHAPES[name]) == (2, (40, 64))
    assert set(SHAPES) == set(INPUT_FORMATS)


def test_noise_is_seeded_and_spread_over_all_values():
    normal, pixels = (
        INPUT_FORMATS[name].noise(np.random.default_rng(1), 2, 3, (40, 64)) for name in ("float32-nchw", "uint8-nhwc")
    )
    assert (normal.shape, normal.dtype) == ((2, 3, 40, 64), np.float32)
    assert abs(normal.std() - 1) < 0.05
    assert (pixels.shape, pixels.dtype) == ((2, 40, 64, 3), np.uint8)
    assert len(np.unique(pixels)) == 256
    again = INPUT_FORMATS["uint8-nhwc"].noise(np.random.default_rng(1), 2, 3, (40, 64))
    assert np.array_equal(pixels, again)


@pytest.mark.parametrize("name", INPUT_FORMATS)
def test_limits_name_height_and_width_rightly(name):
    limits = SizeLimits((40, 32), (40, 64), batch=2, input_format=name)
    shape = INPUT_FORMATS[name].shape
    limits.check(shape(2, 3, 40, 64), "it")
    with pytest.raises(NatdeployError, match=r"images of 64x40\. Needed: 40x32 to 40x64"):
        limits.check(shape(2, 3, 64, 40), "it")
    with pytest.raises(NatdeployError, match=r"a batch of 3\. Needed: a batch of 2"):
        limits.check(shape(3, 3, 40, 64), "it")
