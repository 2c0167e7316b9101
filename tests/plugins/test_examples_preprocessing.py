"""plugins/examples prepares images as natdeploy/preprocessing.py does with Pillow: the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
from command_line import IMAGES
from PIL import Image
from plugins.example_build import read_images_on_aarch64
from plugins.example_images import Job, Program, document

from natdeploy.preprocessing import Preprocessing, open_image, pixel_values_from_image

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
RGB = Preprocessing((37, 53), resize_edge=43)
GREY = Preprocessing((53, 37), resize_edge=43, channel_order="L", mean=(0.5,), std=(0.25,))
# Some of these lose height enough that Pillow 13 does rows before columns, which Pillow 12 never did.
SIZES = ((1, 1), (1, 90), (90, 1), (2, 3), (37, 53), (43, 61), (64, 48), (97, 211), (300, 41), (7, 400), (401, 80))

pytestmark = pytest.mark.skipif(
    int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow 12 and older round differently where images are tall"
)


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


def noise(height, width, channels, seed=0):
    """Random pixels with runs of black and white, at which filters overshoot."""
    generator = np.random.default_rng([seed, height, width, channels])
    pixels = generator.integers(0, 256, (height, width, channels), np.uint8)
    pixels[generator.random((height, width)) < 0.3] = 0
    pixels[:, width // 2 :][generator.random((height, width - width // 2)) < 0.5] = 255
    return Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)


def assert_same(program, pairs):
    """Assert that images give the same bits here and there; pairs of an image and a recipe."""
    jobs = []
    for number, (image, recipe) in enumerate(pairs):
        path = program.directory / f"{number}.{'pgm' if image.mode == 'L' else 'ppm'}"
        image.save(path)
        jobs.append(Job(program.write_document(document(recipe), f"{number}.json"), path))
    told = program.run(jobs)
    for number, (image, recipe) in enumerate(pairs):
        expected = pixel_values_from_image(image, recipe)
        assert told[number] == "ok", (image.size, recipe)
        found = program.values(number, expected)
        assert np.array_equal(found.view(np.uint8), expected.view(np.uint8)), (image.size, recipe)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("recipe", [RGB, GREY], ids=["RGB", "L"])
def test_every_filter_and_size(program, recipe, interpolation):
    """Up, down, odd, as large as the crop, and stripes of one pixel; grey and coloured files for both."""
    recipe = replace(recipe, interpolation=interpolation)
    assert_same(program, [(noise(*size, channels), recipe) for size in SIZES for channels in (1, 3)])


def test_stripes_that_would_fill_the_memory_are_refused(program):
    """1.3 million rows of 256 pixels before the crop, which Pillow would make."""
    noise(5000, 1, 3).save(program.directory / "stripe.ppm")
    recipe = program.write_document(document(Preprocessing.of_imagenet(224)))
    (told,) = program.run([Job(recipe, program.directory / "stripe.ppm")])
    assert told.startswith("An image would have 1280000x256 pixels on its way into the model")


@pytest.mark.parametrize(
    "changes",
    [
        {"resize_edge": None},
        {"resize_edge": None, "center_crop": False},
        {"resize_edge": 20},  # smaller than the crop: black around it
        {"resize": False},
        {"resize_edge": 43, "crop_size": (43, 43), "center_crop": False},
        {"value_range": 255.0, "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
        {"value_range": 2.0},
        {"input_format": "uint8-nhwc"},
    ],
    ids=str,
)
def test_every_recipe(program, changes):
    sizes = [(64, 64)] if changes.get("center_crop", True) is False else [(40, 70), (41, 71), (20, 31), (90, 64)]
    assert_same(program, [(noise(*size, 3), replace(RGB, **changes)) for size in sizes])


@pytest.mark.parametrize("machine", ["this", "aarch64"])
def test_random_sizes_and_recipes(tmp_path, machine):
    program = Program(tmp_path, read_images_on_aarch64() if machine == "aarch64" else None)
    generator = np.random.default_rng(7)
    pairs = []
    for seed in range(300):
        height, width = (int(size) for size in np.exp(generator.uniform(0, np.log(400), 2)))
        crop = tuple(int(size) for size in generator.integers(8, 70, 2))
        edge = int(generator.integers(1, 90)) if generator.random() < 0.8 else None
        base = RGB if generator.random() < 0.5 else GREY
        recipe = replace(base, crop_size=crop, resize_edge=edge, interpolation=FILTERS[generator.integers(6)])
        pairs.append((noise(height, width, int(generator.choice([1, 3])), seed), recipe))
    assert_same(program, pairs)


def test_photos(program):
    """Real photographs, as ImageNet models see them."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn, which ships two photographs")
    folder = Path(datasets.__file__).parent / "images"
    photos = [open_image(folder / name) for name in ("china.jpg", "flower.jpg")]
    recipes = [Preprocessing.of_imagenet(224), Preprocessing.of_imagenet(224).at_size(192, 320)]
    recipes += [replace(recipes[0], interpolation=name) for name in ("bilinear", "lanczos")]
    assert_same(program, [(photo, recipe) for photo in photos for recipe in recipes])


def test_digits(program):
    """The digits images through the recipe of their checkpoint's export, at another size than their own."""
    recipe = Preprocessing(
        (32, 40), resize_edge=36, channel_order="L", mean=(0.5,), std=(0.5,), interpolation="bilinear"
    )
    images = [open_image(path) for path in IMAGES]
    assert {image.mode for image in images} == {"L"}
    assert_same(program, [(image, recipe) for image in images])
