"""``--input-format uint8-nhwc``, from a checkpoint to every command: the same results as with normalised numbers."""

import json
import shutil

import numpy as np
import onnx
import pytest
from command_line import DIGITS, IMAGES, one_paragraph, run
from engines import rtx

from natdeploy.onnx_files.files import read_onnx
from natdeploy.onnx_files.metadata import metadata_from_properties
from natdeploy.preprocessing import batch_from_images

FIXED = ("--image-size", "40x32", "--outputs", "logits,pooled")


def exported(directories, input_format, *options):
    """Export digits in a directory of their own."""
    path = directories.mktemp("pixel-files") / "m.onnx"
    result = run("export", DIGITS, "-o", path, "--input-format", input_format, *options, "--json")
    assert result.status == 0, result.err
    assert result.json["input_format"] == input_format
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A file of 40x32 that takes normalised numbers."""
    return exported(tmp_path_factory, "float32-nchw", *FIXED)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    """The same that takes pixels."""
    return exported(tmp_path_factory, "uint8-nhwc", *FIXED)


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """A file that takes pixels of any size from 40 to 72, a batch of 2."""
    return exported(tmp_path_factory, "uint8-nhwc", "--dynamic-size", "40:72", "--batch", "2")


def recipe_of(path):
    return metadata_from_properties(read_onnx(path).metadata_props, path.name).preprocessing


def verified(*arguments, status=0):
    result = run("verify", *arguments, "--json")
    assert result.status == status, result.err + result.out
    return result.json


def test_noise_images_and_layers_agree_with_the_checkpoint(fixed, free):
    document = verified(fixed, "--checkpoint", DIGITS, "--layers")
    assert document["inputs"] == "seeded noise 2x40x32x1"
    assert document["layers"][0]["name"] == "normalised"
    assert document["layers"][0]["shape"] == [2, 1, 40, 32]
    assert len(document["layers"]) > 20 and document["notes"] == []
    document = verified(free, "--checkpoint", DIGITS)
    assert document["inputs"] == "seeded noise 2x40x40x1 + 2x51x72x1 + 2x72x50x1"
    document = verified(fixed, "--checkpoint", DIGITS, "--images", DIGITS / "images")
    assert document["outputs"][0]["shape"] == [20, 10]
    assert document["outputs"][0]["top1_agreement"] == 1.0


def test_recorded_pixels_stand_in_for_the_checkpoint(fixed, plain, tmp_path):
    recording = tmp_path / "r.npz"
    images = ("--images", DIGITS / "images")
    assert verified(fixed, "--checkpoint", DIGITS, *images, "--save-reference", recording)["agrees"]
    with np.load(recording) as archive:
        assert (archive["pixel_values"].shape, archive["pixel_values"].dtype) == ((16, 40, 32, 1), np.uint8)
        arrays = dict(archive)
    assert verified(fixed, "--against", recording)["outputs"][0]["shape"] == [20, 10]
    assert verified(fixed, "--checkpoint", DIGITS, "--inputs", recording)["inputs"].startswith("r.npz 16x40")
    arrays["pixel_values"] = 255 - arrays["pixel_values"]
    np.savez(recording, **arrays)
    assert not verified(fixed, "--against", recording, status=3)["agrees"]
    result = run("verify", plain, "--against", recording)
    one_paragraph(result, "is 16x40x32x1, the model takes batchx1x40x32", "is uint8, the model takes float32")


def test_another_normalisation_disagrees(fixed, tmp_path):
    """The reference normalises as its checkpoint says, not as the file does."""
    shutil.copytree(DIGITS, tmp_path / "digits")
    config = json.loads((DIGITS / "preprocessor_config.json").read_text("utf-8"))
    config["image_mean"] = [0.4]
    (tmp_path / "digits" / "preprocessor_config.json").write_text(json.dumps(config), "utf-8")
    result = run("verify", fixed, "--checkpoint", tmp_path / "digits", "--layers")
    assert result.status == 3
    assert result.out.splitlines()[-1] == "The first layer that drifts is normalised."


def test_the_same_labels_with_the_same_probabilities(fixed, plain):
    """On real scans, through image files."""
    found, expected = (run("infer", path, *IMAGES, "--json").json for path in (fixed, plain))
    for one, other in zip(found, expected, strict=True):
        assert [guess["label"] for guess in one["guesses"]] == [guess["label"] for guess in other["guesses"]]
        probabilities = [[guess["probability"] for guess in image["guesses"]] for image in (one, other)]
        assert probabilities[0] == pytest.approx(probabilities[1], rel=1e-5)


def test_the_file_says_what_it_takes(fixed, plain):
    result = run("inspect", fixed)
    assert "  input format   uint8-nhwc" in result.out
    assert "  inputs         pixel_values uint8 [batch, 40, 32, 1]" in result.out
    assert run("inspect", plain, "--json").json["preprocessing"]["input_format"] == "float32-nchw"
    assert run("inspect", fixed, "--probes").out.splitlines()[:2] == ["normalised", "stem"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x.astype(np.float32), "is float32, the model takes uint8 (pixels as they are, 0 to 255)"),
        (lambda x: x.astype(np.int64), "Got: int64 [2, 40, 32, 1]. Needed: float32 [batch, channels, height"),
        (lambda x: x.transpose(0, 3, 1, 2), "is 2x1x40x32, the model takes batchx40x32x1"),
        (lambda x: x.transpose(0, 2, 1, 3), "is 2x32x40x1, the model takes batchx40x32x1"),
        (lambda x: x[..., 0], "Got: uint8 [2, 40, 32]"),
    ],
    ids=["floats", "integers", "channels first", "width first", "without channels"],
)
def test_other_inputs_are_refused(change, says, fixed, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 1), np.uint8)
    np.savez(tmp_path / "in.npz", pixel_values=change(pixels))
    one_paragraph(run("verify", fixed, "--checkpoint", DIGITS, "--inputs", tmp_path / "in.npz"), says)


def test_sizes_outside_are_named_as_height_and_width(free, tmp_path):
    np.savez(tmp_path / "in.npz", pixel_values=np.zeros((2, 50, 73, 1), np.uint8))
    result = run("verify", free, "--checkpoint", DIGITS, "--inputs", tmp_path / "in.npz")
    one_paragraph(result, "does not accept images of 50x73. Needed: 40 to 72 (height and width)")
    np.savez(tmp_path / "in.npz", pixel_values=np.zeros((3, 50, 70, 1), np.uint8))
    result = run("verify", free, "--checkpoint", DIGITS, "--inputs", tmp_path / "in.npz")
    one_paragraph(result, "is 3x50x70x1, the model takes 2xheightxwidthx1")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_keeps_the_normalisation_in_float32(fixed, precision, tmp_path):
    result = run("convert", fixed, "-o", tmp_path / "half.onnx", "--precision", precision)
    assert result.status == 0, result.err
    assert "; normalisation of pixels; " in result.out
    assert "  error " in result.out  # it ran, on random pixels
    document = verified(tmp_path / "half.onnx", "--checkpoint", DIGITS, "--images", IMAGES[0].parent, "--layers")
    assert document["outputs"][0]["top1_agreement"] == 1.0
    first, stem = document["layers"][:2]
    assert (first["name"], stem["name"]) == ("normalised", "stem")
    assert first["error"] < 1e-6 < stem["error"]


def test_lowered_forms_take_pixels_too(fixed, tmp_path):
    for form in ("plugin", "portable"):
        assert run("lower", fixed, "-o", tmp_path / f"{form}.onnx", "--form", form).status == 0
        (pixels,) = onnx.load(tmp_path / f"{form}.onnx").graph.input
        assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert recipe_of(tmp_path / f"{form}.onnx") == recipe_of(fixed)
    assert verified(tmp_path / "portable.onnx", "--checkpoint", DIGITS, "--images", IMAGES[3])["agrees"]


def test_the_pixels_are_those_that_the_recipe_normalises(fixed, plain):
    """What a camera's program has to feed: Pillow's resize, and nothing else."""
    pixels = batch_from_images(IMAGES[:2], recipe_of(fixed))
    floats = batch_from_images(IMAGES[:2], recipe_of(plain))
    assert (pixels.shape, pixels.dtype) == ((2, 40, 32, 1), np.uint8)
    assert np.abs(floats - (pixels.transpose(0, 3, 1, 2) / 255.0 - 0.5) / 0.5).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("precision", [(), ("--fp16",)], ids=["fp32", "fp16"])
@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("fixed", [[1, 40, 32, 1], [1, 40, 32, 1], [8, 40, 32, 1]]),
        ("free", [[2, 40, 40, 1], [2, 40, 40, 1], [2, 72, 72, 1]]),
    ],
)
def test_tensorrt_for_rtx_builds_them(request, name, points, precision, tmp_path):
    plan = tmp_path / "m.plan"
    result = rtx.run("build-engine", request.getfixturevalue(name), "-o", plan, "--backend", "tensorrt-rtx", *precision)
    assert result.status == 0, result.err
    engine = json.loads((tmp_path / "m.plan.json").read_text("utf-8"))["engine"]
    assert engine["profiles"] == [{"pixel_values": dict(zip(("min", "opt", "max"), points, strict=True))}]
    assert engine["inputs"][0]["dtype"] == "uint8"
    assert engine["inputs"][0]["shape"][-1] == 1
    assert set(engine["attention_layers"].values()) == {"float16" if precision else "float32"}
    described = run("inspect", plan, "--json").json
    assert described["preprocessing"]["input_format"] == "uint8-nhwc"


@pytest.mark.slow
def test_shapes_of_an_engine_are_compared_with_what_the_file_accepts(free, tmp_path):
    shapes = ("--shapes", "2x40x40x1,2x50x60x1,2x60x73x1")
    build = ("build-engine", free, "-o", tmp_path / "m.plan", "--backend", "tensorrt-rtx")
    one_paragraph(rtx.run(*build, *shapes), "MAX 2x60x73x1 is outside of what the file accepts")
