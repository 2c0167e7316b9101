"""Bad images, arrays and recordings: one paragraph that names the fix, status 1, and nothing left behind."""

import pickle

import numpy as np
import pytest
from command_line import (
    DIGITS,
    IMAGES,
    digits_onnx,
    dynamic_onnx,
    edit_weight,
    edited,
    run,
    two_outputs_onnx,
)
from PIL import Image
from refusals import Evil, fails, metadata, nothing


def npz(place, **arrays):
    np.savez(place / "in.npz", **arrays)
    return place / "in.npz"


def pixels(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


@pytest.mark.parametrize(
    "arrays, says",
    [
        ({"pixel_values": pixels(1, 1, 39, 40)}, "40 to 72"),
        ({"pixel_values": pixels(3, 1, 39, 40)}, "does not accept images of 39x40"),
        ({"pixel_values": pixels(3, 1, 40, 73)}, "does not accept images of 40x73"),
        ({"pixel_values": pixels(2, 1, 40, 40)}, "'pixel_values' is 2x1x40x40, the model takes 3x1xheightxwidth"),
        ({"pixel_values": pixels(3, 3, 40, 40)}, "'pixel_values' is 3x3x40x40"),
        ({"pixel_values": pixels(3, 40, 40)}, "float32 [3, 40, 40]"),
        ({"pixel_values": pixels(0, 1, 40, 40)}, "no pixels"),
        ({"pixel_values": pixels(3, 1, 40, 40, dtype=np.uint8)}, "uint8"),
        ({"pixel_values": pixels(3, 1, 40, 40) * np.nan}, "NaN or infinity"),
        ({"pixel_values": pixels(3, 1, 40, 40) * np.inf}, "NaN or infinity"),
        ({"pixel_values": np.array([Evil()], object)}, "Object arrays cannot be loaded"),
        ({"pixel_values": np.array("text")}, "are no images"),
        ({"images": pixels(3, 1, 40, 40)}, "has no array 'pixel_values'"),
        ({}, "no arrays at all"),
    ],
    ids=range(14),
)
def test_inputs_that_the_file_does_not_take(place, arrays, says):
    path = npz(place, **arrays)
    if says == "40 to 72":
        says = "'pixel_values' is 1x1x39x40"
    fails(place, "verify", dynamic_onnx(), "--checkpoint", DIGITS, "--inputs", path, says=[says])
    assert not (place / "ran.txt").exists()


def damaged_zip(place):
    path = npz(place, pixel_values=pixels(3, 1, 40, 40))
    content = bytearray(path.read_bytes())
    content[200:4000] = b"\xff" * 3800
    path.write_bytes(content)
    return path


def text_npz(place):
    (place / "in.npz").write_text("no zip")
    return place / "in.npz"


def plain_npy(place):
    np.save(place / "in.npy", pixels(3, 1, 40, 40))
    return (place / "in.npy").rename(place / "in.npz")


def pickled(place):
    (place / "in.npz").write_bytes(pickle.dumps(Evil()))
    return place / "in.npz"


def damaged_deflate(place):
    np.savez_compressed(place / "in.npz", pixel_values=np.random.default_rng(0).random((3, 1, 40, 40), np.float32))
    content = bytearray((place / "in.npz").read_bytes())
    content[300:400] = bytes(100)
    (place / "in.npz").write_bytes(content)
    return place / "in.npz"


@pytest.mark.parametrize("make", [nothing, damaged_zip, damaged_deflate, text_npz, plain_npy, pickled])
@pytest.mark.parametrize("option", ["--inputs", "--against"])
def test_damaged_npz(place, make, option):
    path = make(place)
    checkpoint = ["--checkpoint", DIGITS] if option == "--inputs" else []
    says = ["there is no file" if make is nothing else "as an .npz file"]
    fails(place, "verify", dynamic_onnx(), *checkpoint, option, path, says=says)
    assert not (place / "ran.txt").exists()


def test_a_recording_of_other_outputs(place):
    path = npz(place, pixel_values=pixels(3, 1, 40, 40), logits=np.zeros((3, 10)), pooled=np.array("text"))
    fails(
        place, "verify", two_outputs_onnx(), "--against", path, says=["Got: logits. Needed: pooled", "--save-reference"]
    )
    path = npz(place, pixel_values=pixels(3, 1, 40, 40))
    fails(place, "verify", digits_onnx(), "--against", path, says=["no outputs", "Needed: logits"])


@pytest.mark.parametrize("about", ["", "[]", '{"name": 1, "environment": 3, "checkpoint_sha256": []}', "[" * 9999])
def test_what_a_recording_says_of_itself_is_not_trusted(place, about):
    arrays = {"pixel_values": pixels(2, 1, 40, 32), "logits": np.zeros((2, 10)), "pooled": np.zeros((2, 1))}
    path = npz(place, **{"natdeploy.reference": np.array(about)}, **arrays)
    result = run("verify", two_outputs_onnx(), "--against", path)
    assert result.status == 3
    assert "DISAGREES: pooled: shape" in result.out


def text_image(place):
    (place / "image.png").write_text("no image")
    return place / "image.png"


def cut_image(place):
    Image.effect_noise((64, 48), 50).save(place / "image.png")
    content = (place / "image.png").read_bytes()
    (place / "image.png").write_bytes(content[: len(content) // 2])
    return place / "image.png"


def directory(place):
    (place / "photos").mkdir()
    return place / "photos"


def float_image(place):
    Image.new("F", (8, 9)).save(place / "image.tiff")
    return place / "image.tiff"


@pytest.mark.parametrize(
    "make, says",
    [
        (nothing, "there is no image"),
        (text_image, "as an image"),
        (cut_image, "as an image"),
        (directory, "as an image"),
        (float_image, "floating point pixels"),
    ],
)
def test_images_that_are_none(place, make, says):
    path = make(place)
    fails(place, "infer", digits_onnx(), IMAGES[0], path, says=[says, path.name])
    fails(place, "infer", digits_onnx(), path, IMAGES[0], path, says=["2 of 3 images cannot be classified", says])
    fails(place, "infer", digits_onnx(), "n" * 300, says=["File name too long"])
    if make is not directory:
        says = "there is no image or directory" if make is nothing else says
        fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--images", path, says=[says])


def test_a_directory_without_images(place):
    (place / "photos").mkdir()
    (place / "photos" / "readme.txt").write_text("none here")
    says = ["no images in", ".jpg"]
    fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--images", place / "photos", says=says)


def test_infer_needs_a_classifier_that_works(place):
    path = edited(two_outputs_onnx(), place / "m.onnx", metadata("outputs", ["pooled"]))
    fails(place, "infer", path, IMAGES[0], says=["does not classify", "Got: pooled"])

    def nan(model):
        edit_weight(model, "head.bias", lambda array: array.fill(np.nan))

    path = edited(digits_onnx(), place / "m.onnx", nan)
    fails(place, "infer", path, IMAGES[0], says=["no usable 'logits'", "NaN or infinity", "natdeploy verify"])
