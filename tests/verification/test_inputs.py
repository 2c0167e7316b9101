"""What verification feeds to both sides."""

from dataclasses import replace

import numpy as np
import pytest
from command_line import IMAGES, digits_onnx, dynamic_onnx

from natdeploy.errors import NatdeployError
from natdeploy.preprocessing import batch_from_images
from natdeploy.runners import runner_for_artifact
from natdeploy.size_limits import SizeLimits
from natdeploy.verification.inputs import ImageBatches, batches_of_noise, image_paths


@pytest.fixture(scope="module")
def fixed():
    return runner_for_artifact(digits_onnx()).metadata


@pytest.fixture(scope="module")
def free():
    return runner_for_artifact(dynamic_onnx()).metadata


def with_sizes(metadata, low, high, batch=None):
    return replace(metadata, size_limits=SizeLimits((low, low), (high, high), batch))


def test_noise_is_seeded_and_normal(fixed):
    (batch,), (again,), (other,) = (batches_of_noise(fixed, seed) for seed in (3, 3, 4))
    pixels = batch["pixel_values"]
    assert (pixels.shape, pixels.dtype) == ((2, 1, 32, 32), np.float32)
    assert np.array_equal(pixels, again["pixel_values"])
    assert not np.array_equal(pixels, other["pixel_values"])
    assert abs(pixels.std() - 1) < 0.1


def test_free_sizes_get_several_that_are_not_square(free):
    shapes = [batch["pixel_values"].shape for batch in batches_of_noise(free)]
    assert len(shapes) == 3
    assert all(len(shape) == 4 and shape[:2] == (3, 1) for shape in shapes)
    assert sum(shape[2] != shape[3] for shape in shapes) == 2
    assert all(40 <= side <= 72 for shape in shapes for side in shape[2:])


@pytest.mark.parametrize("low, high", [(32, 33), (300, 16384), (400, 500), (1000, 1000)])
def test_every_range_is_kept_to(fixed, low, high):
    for batch in batches_of_noise(with_sizes(fixed, low, high, batch=1)):
        assert all(low <= side <= high for side in batch["pixel_values"].shape[2:])


def test_noise_beyond_memory_is_refused(fixed):
    with pytest.raises(NatdeployError, match="--inputs"):
        batches_of_noise(with_sizes(fixed, 16384, 16384, batch=2**31))


def test_images_in_batches(fixed, free):
    assert [b["pixel_values"].shape[0] for b in ImageBatches(IMAGES, fixed)] == [16, 4]
    filled = ImageBatches(IMAGES[:4], free)
    assert [b["pixel_values"].shape for b in filled] == [(3, 1, 40, 40)] * 2
    expected = batch_from_images([IMAGES[3]] * 3, free.preprocessing)
    assert np.array_equal(filled[1]["pixel_values"], expected)


def test_images_are_decoded_when_their_turn_comes(fixed, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    batches = ImageBatches([*IMAGES[:16], tmp_path / "bad.png"], fixed)
    assert len(batches) == 2
    assert batches[0]["pixel_values"].shape == (16, 1, 32, 32)
    assert [len(batch["pixel_values"]) for batch in batches[:1]] == [16]
    with pytest.raises(NatdeployError, match=r"bad\.png"):
        batches[1]
    with pytest.raises(IndexError):
        batches[2]


def test_images_of_a_directory_by_name(tmp_path):
    for name in ("b.png", "A.JPG", "sub/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    assert [path.name for path in image_paths(tmp_path)] == ["A.JPG", "b.png", "c.webp"]
    assert image_paths(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_the_bounds_of_an_engine_are_kept_to(fixed):
    limits = SizeLimits((40, 32), (72, 64), batch_range=(4, 6))
    metadata = replace(fixed, size_limits=limits)
    for batch in batches_of_noise(metadata):
        assert batch["pixel_values"].shape[0] == 4
        limits.check(batch["pixel_values"].shape, "the engine")
    assert [len(b["pixel_values"]) for b in ImageBatches(IMAGES[:8], metadata)] == [6, 4]
    with pytest.raises(NatdeployError, match=r"a batch of 7\. Needed: a batch of 4 to 6"):
        limits.check((7, 1, 40, 32), "the engine")
    assert str(limits) == "40x32 to 72x64"
