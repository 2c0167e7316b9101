"""plugins/examples/classify_onnxruntime.cpp finds what `natdeploy infer` finds, with the real ONNX Runtime library."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import (
    DIGITS,
    IMAGES,
    digits_onnx,
    dynamic_onnx,
    edit_metadata,
    edited,
    portable_onnx,
    two_outputs_onnx,
)
from command_line import run as natdeploy
from PIL import Image
from plugins.example_build import configured, has_libpng, onnxruntime_sdk
from plugins.example_world import agree, guesses_of, inferred, write_images
from plugins.trt_build import attempt

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def classify(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnxruntime")
    build = configured(folder / "build", ONNXRUNTIME_ROOT=onnxruntime_sdk(folder / "sdk"))
    return build / "classify_onnxruntime"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The digits as PGM, which every build reads."""
    folder = tmp_path_factory.mktemp("digits")
    paths = [folder / f"{path.stem}.pgm" for path in IMAGES]
    for source, target in zip(IMAGES, paths, strict=True):
        Image.open(source).save(target)
    return paths


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("photos"))


def assert_same(classify, artifact, images):
    done = attempt(classify, artifact, *images, "--repeat", "2")
    assert (done.returncode, done.stderr) == (0, "")
    found, latency = guesses_of(done.stdout)
    assert agree(found, inferred(artifact, images))
    return latency


@pytest.mark.parametrize(
    "artifact, batch",
    [(digits_onnx, 20), (portable_onnx, 20), (two_outputs_onnx, 20), (dynamic_onnx, 3)],
    ids=["hybrid", "portable", "40x32, two outputs", "dynamic size, batch of 3"],
)
def test_guesses_are_those_of_natdeploy(classify, digits, artifact, batch):
    latency = assert_same(classify, artifact(), digits)
    assert f": 2 runs of batch {batch} by the CPU's clock, without preprocessing" in latency


def test_png(classify):
    if not has_libpng():
        pytest.skip("libpng's header (libpng-dev) is not installed")
    assert_same(classify, digits_onnx(), IMAGES)


def test_labels_are_printed(classify, digits):
    done = attempt(classify, digits_onnx(), digits[6], "--top", "1")
    image, guess, _ = done.stdout.splitlines()
    assert image == str(digits[6])
    assert guess.split()[0::2] == ["3", "three"]


@pytest.mark.slow  # 10 s to export
def test_coloured_images_that_are_not_square(classify, photos, tmp_path):
    artifact = tmp_path / "mini.onnx"
    assert natdeploy("export", "random:nat_mini", "--image-size", "96x160", "-o", artifact).status == 0
    assert_same(classify, artifact, photos)


def test_pixels_as_input(classify, digits, tmp_path):
    artifact = tmp_path / "pixels.onnx"
    options = ("--input-format", "uint8-nhwc", "--image-size", "40x32")
    assert natdeploy("export", DIGITS, *options, "-o", artifact).status == 0
    assert_same(classify, artifact, digits)


def assert_told(done, part):
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert part in line


def test_files_that_cannot_be_used(classify, digits, tmp_path):
    image = digits[0]
    assert_told(
        attempt(classify, tmp_path / "none.onnx", image), "none.onnx' cannot be read: No such file or directory."
    )
    (tmp_path / "text.onnx").write_text("text")
    assert_told(attempt(classify, tmp_path / "text.onnx", image), "text.onnx failed")  # ONNX Runtime's words
    foreign = edited(digits_onnx(), tmp_path / "foreign.onnx", lambda model: model.ClearField("metadata_props"))
    assert_told(attempt(classify, foreign, image), "has no natdeploy metadata")

    def without_logits(model):
        edit_metadata(model, lambda document: document.update(outputs=["pooled"]))

    backbone = edited(digits_onnx(), tmp_path / "backbone.onnx", without_logits)
    assert_told(attempt(classify, backbone, image), "does not classify: it has no output 'logits'")

    def another_type(model):
        edit_metadata(model, lambda document: document["preprocessing"].update(input_format="uint8-nhwc"))

    mixed = edited(digits_onnx(), tmp_path / "mixed.onnx", another_type)
    assert_told(attempt(classify, mixed, image), "Unexpected input data type")


def test_an_image_that_cannot_be_used(classify, digits, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff" + bytes(40))
    told = "is neither a PPM or PGM file (P6, P5) nor PNG"
    assert_told(attempt(classify, digits_onnx(), digits[0], tmp_path / "photo.jpg"), told)


def test_nan_is_told(classify, digits, tmp_path):
    def spoil(model):
        for weight in model.graph.initializer:
            if weight.data_type == 1:
                weight.raw_data = np.full(len(weight.raw_data) // 4, np.nan, np.float32).tobytes()

    spoiled = edited(digits_onnx(), tmp_path / "nan.onnx", spoil)
    assert_told(attempt(classify, spoiled, digits[0]), "The model gives no usable logits")
