"""Images to pixel_values: geometry as torchvision has it, values against torch's resize, every kind of image."""

import math
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from natdeploy.errors import NatdeployError
from natdeploy.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    batch_from_images,
    open_image,
    pixel_values_from_image,
)

RAW = {"value_range": 255.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}  # pixel values as they are in the image


def picture(height, width, seed=0):
    """Smooth shapes with some noise: [height, width, 3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + c) + c) * np.cos(y / (11 - c)) for c in range(3)]
    return np.clip(127 + 90 * np.stack(waves, -1) + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def torchvision_like(pixels, edge, crop, mode):
    """Resize the shorter edge, crop the centre: torchvision's arithmetic over torch's antialiased resize."""
    height, width = pixels.shape[:2]
    short, long = sorted((height, width))
    new_long = int(edge * long / short)
    size = (new_long, edge) if width <= height else (edge, new_long)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    image = torch.nn.functional.interpolate(image, size, mode=mode, antialias=True, align_corners=False)[0]
    image = image.clamp(0, 255).round().numpy()
    crop_height, crop_width = crop
    pad_top, pad_left = max(0, crop_height - size[0]) // 2, max(0, crop_width - size[1]) // 2
    pad_bottom = max(0, crop_height - size[0] + 1) // 2
    pad_right = max(0, crop_width - size[1] + 1) // 2
    image = np.pad(image, ((0, 0), (pad_top, pad_bottom), (pad_left, pad_right)))
    top = int(round((image.shape[1] - crop_height) / 2.0))  # noqa: RUF046 - as torchvision writes it
    left = int(round((image.shape[2] - crop_width) / 2.0))  # noqa: RUF046
    return image[:, top : top + crop_height, left : left + crop_width]


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "edge", "crop"),
    [
        (480, 640, 256, 224),
        (333, 500, 256, 224),  # 384.38 columns, truncated to 384
        (500, 333, 256, 224),
        (332, 500, 256, 224),  # 385.54 columns, truncated too
        (500, 332, 256, 224),
        (301, 201, 37, 32),  # odd everywhere: 55 rows, half a row to lose
        (41, 63, 64, 56),  # enlarged
        (224, 224, 256, 224),
        (97, 98, 33, 32),
        (50, 400, 36, 32),  # eight times as wide
    ],
)
def test_resize_and_crop_agree_with_torch(height, width, edge, crop, mode):
    pixels = picture(height, width)
    recipe = Preprocessing((crop, crop), edge, mode, **RAW)
    found = pixel_values_from_image(Image.fromarray(pixels), recipe)
    expected = torchvision_like(pixels, edge, (crop, crop), mode)
    assert found.shape == expected.shape == (3, crop, crop)
    # Pillow rounds to 8 bits between its two passes: measured, one level in up to 22 % of the pixels.
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.3
    # One pixel off would be far more than that.
    assert np.abs(found[:, :, 1:] - expected[:, :, :-1]).max() > 20


@pytest.mark.parametrize(("height", "width"), [(224, 224), (223, 225), (20, 300), (31, 31), (33, 300), (5, 5)])
def test_crop_alone_is_exact_and_pads_with_black(height, width):
    pixels = picture(height, width)
    recipe = Preprocessing((32, 48), resize=False, **RAW)
    found = pixel_values_from_image(Image.fromarray(pixels), recipe)
    padded = np.pad(
        pixels,
        [(max(0, want - has) // 2, max(0, want - has + 1) // 2) for want, has in ((32, height), (48, width))]
        + [(0, 0)],
    )
    top, left = round((padded.shape[0] - 32) / 2), round((padded.shape[1] - 48) / 2)
    np.testing.assert_array_equal(found, padded[top : top + 32, left : left + 48].transpose(2, 0, 1))


def test_values_are_scaled_then_normalised_per_channel():
    pixels = picture(40, 56)
    recipe = Preprocessing((40, 56), resize=False)
    found = pixel_values_from_image(Image.fromarray(pixels), recipe)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    expected = (pixels / 255.0 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), rtol=0, atol=2e-6)


def test_straight_resize_ignores_the_aspect_ratio():
    pixels = picture(60, 90)
    recipe = Preprocessing((32, 32), interpolation="bilinear", center_crop=False, **RAW)
    found = pixel_values_from_image(Image.fromarray(pixels), recipe)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(image, (32, 32), mode="bilinear", antialias=True)[0].numpy()
    assert np.abs(found - expected).max() <= 1.5


def test_image_of_another_size_is_refused_where_the_recipe_neither_resizes_nor_crops():
    recipe = Preprocessing((32, 40), resize=False, center_crop=False)
    assert pixel_values_from_image(Image.fromarray(picture(32, 40)), recipe).shape == (3, 32, 40)
    with pytest.raises(NatdeployError, match="wrong size") as error:
        pixel_values_from_image(Image.fromarray(picture(40, 32)), recipe)
    assert (error.value.got, error.value.needed) == ("40x32", "32x40")


# Recipes


@pytest.mark.parametrize(
    ("size", "fraction", "edge"), [(224, 0.875, 256), (384, 1.0, 384), (224, 0.9, 248), (32, 0.875, 36)]
)
def test_published_recipe_is_timms(size, fraction, edge):
    recipe = Preprocessing.of_imagenet(size, fraction)
    assert edge == math.floor(size / fraction)
    assert (recipe.crop_size, recipe.resize_edge, recipe.interpolation) == ((size, size), edge, "bicubic")
    assert (recipe.mean, recipe.std, recipe.value_range) == (IMAGENET_MEAN, IMAGENET_STD, 1.0)


def test_recipe_for_other_numbers_of_channels():
    grey, four = (Preprocessing.of_imagenet(64, num_channels=n) for n in (1, 4))
    assert (grey.channel_order, grey.mean, grey.std) == ("L", (0.5,), (0.5,))
    assert (four.channel_order, len(four.mean), len(four.std)) == (None, 4, 4)
    assert pixel_values_from_image(Image.fromarray(picture(80, 70)), grey).shape == (1, 64, 64)
    with pytest.raises(NatdeployError, match="4 channels"):
        pixel_values_from_image(Image.fromarray(picture(80, 70)), four)


def test_recipe_survives_json():
    import json

    for recipe in (
        Preprocessing.of_imagenet(384, 1.0),
        Preprocessing((32, 40), center_crop=False, interpolation="nearest"),
    ):
        document = json.loads(json.dumps(recipe.to_json()))
        assert document["antialias"] is True
        assert Preprocessing.from_json(document) == recipe
        assert Preprocessing.from_json(document | {"field_of_a_later_version": 1}) == recipe


@pytest.mark.parametrize(
    ("height", "width", "edge"), [(224, 224, 256), (112, 112, 128), (384, 384, 438), (448, 224, 256), (32, 64, 36)]
)
def test_at_size_keeps_the_ratio_of_edge_and_crop(height, width, edge):
    recipe = Preprocessing.of_imagenet(224).at_size(height, width)
    assert (recipe.crop_size, recipe.resize_edge) == ((height, width), edge)
    assert Preprocessing((64, 64)).at_size(height, width).resize_edge is None


@pytest.mark.parametrize(("height", "width"), [(100, 100), (90, 160), (160, 90), (300, 40)])
def test_crop_that_is_not_square_is_covered_without_black_bars(height, width):
    white = Image.new("RGB", (width, height), (255, 255, 255))
    recipe = Preprocessing.of_imagenet(224).at_size(96, 160)
    pixels = pixel_values_from_image(white, recipe)
    assert pixels.shape == (3, 96, 160)
    assert pixels.min() > 2  # black would be -2


def test_crop_that_is_not_square_keeps_its_share_of_a_picture_of_its_shape():
    recipe = Preprocessing.of_imagenet(224).at_size(96, 160)
    ramp = np.broadcast_to(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (384, 640, 3))
    found = pixel_values_from_image(Image.fromarray(np.ascontiguousarray(ramp)), recipe)[0]
    values = (found * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
    assert values[0, 0] == pytest.approx(255 / 16, abs=2.5)  # 7/8 of either edge, less the rounding of both sizes
    assert values[0, -1] == pytest.approx(255 * 15 / 16, abs=2.5)


# Kinds of image


def read(image, path, channel_order="RGB", **save):
    image.save(path, **save)
    channels = 3 if channel_order == "RGB" else 1
    recipe = Preprocessing(
        (image.height, image.width),
        resize=False,
        channel_order=channel_order,
        value_range=255.0,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pixel_values_from_image(open_image(path), recipe)


def test_grey_image_for_a_colour_model_and_colour_image_for_a_grey_one(tmp_path):
    grey = picture(20, 30)[..., 0]
    found = read(Image.fromarray(grey), tmp_path / "a.png")
    np.testing.assert_array_equal(found, np.stack([grey] * 3))
    pixels = picture(20, 30)
    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow and OpenCV
    assert np.abs(read(Image.fromarray(pixels), tmp_path / "b.png", "L") - luma).max() <= 1


def test_transparency_is_dropped(tmp_path):
    pixels = picture(20, 30)
    alpha = np.linspace(0, 255, 600).astype(np.uint8).reshape(20, 30, 1)
    image = Image.fromarray(np.concatenate([pixels, alpha], -1), "RGBA")
    np.testing.assert_array_equal(read(image, tmp_path / "a.png"), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(16))], ids=["opaque", "index", "bytes"])
def test_palette(transparency, tmp_path):
    image = Image.fromarray(picture(20, 30)).quantize(16)
    colours = np.asarray(image.convert("RGB"))
    options = {} if transparency is None else {"transparency": transparency}
    np.testing.assert_array_equal(read(image, tmp_path / "a.png", **options), colours.transpose(2, 0, 1))


def test_two_colours(tmp_path):
    bits = picture(20, 30)[..., 0] > 127
    np.testing.assert_array_equal(read(Image.fromarray(bits), tmp_path / "a.png")[1], bits * 255.0)


def test_cmyk(tmp_path):
    pixels = picture(20, 30)
    image = Image.fromarray(np.concatenate([255 - pixels, np.zeros((20, 30, 1), np.uint8)], -1), "CMYK")
    np.testing.assert_array_equal(read(image, tmp_path / "a.tiff"), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_not_clipped(suffix, tmp_path):
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    found = read(Image.fromarray(values), tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(found, np.stack([values >> 8] * 3))


def test_thirty_two_bit_grey_is_refused_beyond_sixteen_bits(tmp_path):
    values = np.linspace(0, 65535, 600).astype(np.int32).reshape(20, 30)
    np.testing.assert_array_equal(read(Image.fromarray(values), tmp_path / "a.tiff")[0], values >> 8)
    with pytest.raises(NatdeployError, match="more than 16 bits"):
        read(Image.fromarray(values * 100), tmp_path / "b.tiff")


def test_floating_point_image_is_refused(tmp_path):
    with pytest.raises(NatdeployError, match="floating point pixels"):
        read(Image.fromarray(np.ones((20, 30), np.float32)), tmp_path / "a.tiff")


def test_colours_that_pillow_cannot_turn_grey_are_refused(tmp_path):
    with pytest.raises(NatdeployError, match="pixels of the kind LAB"):
        read(Image.new("LAB", (30, 20)), tmp_path / "a.tiff", "L")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_turned_upright(orientation, suffix, tmp_path):
    upright = picture(24, 40)
    stored = {  # what a camera held in that orientation writes (EXIF 2.3, tag 0x0112)
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    lossless = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **lossless)
    recipe = Preprocessing((24, 40), resize=False, center_crop=False, **RAW)
    tolerance = 1.5 if suffix == "jpg" else 1e-9
    assert np.abs(np.asarray(open_image(path), np.float64) - upright).mean() < tolerance
    found = pixel_values_from_image(open_image(path), recipe)
    assert np.abs(found - upright.transpose(2, 0, 1)).mean() < tolerance
    if suffix != "tiff":  # Pillow turns TIFF files itself; other images may come from a program that did not turn them
        with Image.open(path) as image:
            found = pixel_values_from_image(image, recipe)
        assert np.abs(found - upright.transpose(2, 0, 1)).mean() < tolerance


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    pixels = pixel_values_from_image(open_image(tmp_path / "a.gif"), Preprocessing((20, 30), resize=False, **RAW))
    assert pixels[0].min() > 200 and pixels[1].max() < 50


# Bad files


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tiff", "webp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_truncated_file(suffix, share, tmp_path):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture(120, 160)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NatdeployError, match=rf"cannot read '.*a\.{suffix}' as an image"):
        open_image(path)


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff"])
def test_file_that_is_no_image(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(NatdeployError, match="cannot read") as error:
        open_image(tmp_path / "a.png")
    assert "PNG, JPEG" in error.value.needed


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "webp"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_never_lead_to_another_error(suffix, tmp_path):
    import random

    path, numbers, refused = tmp_path / f"a.{suffix}", random.Random(7), 0
    Image.fromarray(picture(30, 40)).save(path)
    content = path.read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(numbers.choice([1, 5, 20])):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        path.write_bytes(damaged[: numbers.choice([None, numbers.randrange(1, len(damaged))])])
        try:
            open_image(path)
        except NatdeployError:
            refused += 1
    assert refused > 20


def test_missing_image_and_directory(tmp_path):
    with pytest.raises(NatdeployError, match="there is no image"):
        open_image(tmp_path / "a.png")
    with pytest.raises(NatdeployError, match="cannot read"):
        open_image(tmp_path)


def test_decompression_bomb(tmp_path, monkeypatch):
    Image.new("1", (3000, 1000)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(NatdeployError, match="cannot read"):
        open_image(tmp_path / "a.png")


def test_large_image_is_read_without_a_word(tmp_path, monkeypatch):
    Image.new("1", (30, 50)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns from here on, and refuses beyond twice that
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(tmp_path / "a.png").size == (30, 50)


def test_batch_stacks_images_of_different_sizes(tmp_path):
    paths = []
    for number, (height, width) in enumerate([(50, 70), (90, 40)]):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture(height, width, seed=number)).save(paths[-1])
    recipe = Preprocessing.of_imagenet(32)
    batch = batch_from_images(paths, recipe)
    assert batch.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(batch[1], pixel_values_from_image(open_image(paths[1]), recipe))
