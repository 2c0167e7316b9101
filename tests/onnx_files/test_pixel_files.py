"""Files that take pixels give on photographs what files of the same checkpoint give that take normalised numbers."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import sklearn.datasets
import torch
from golden import golden_arrays
from onnx_files.exported import error, exported, golden_checkpoint, run

from natdeploy.errors import NatdeployError
from natdeploy.models.outputs import available_outputs
from natdeploy.onnx_files.export import onnx_from_checkpoint
from natdeploy.onnx_files.normalisation import PixelNormalisation
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.preprocessing import Preprocessing, batch_from_images, normalised, open_image
from natdeploy.runners.normalising_runner import NormalisingRunner
from natdeploy.runners.onnxruntime_runner import OnnxRuntimeRunner
from natdeploy.runners.torch_runner import TorchRunner

PHOTOS = [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
FIXED = ExportSettings(image_size=(64, 96))
FREE = ExportSettings(dynamic_size=(40, 128))
SIZES = {FIXED: [(64, 96)], FREE: [(40, 40), (75, 128), (96, 50)]}


def pixel_file(settings):
    return dataclasses.replace(settings, input_format="uint8-nhwc")


def recipes(name, size):
    plain = golden_checkpoint(name).preprocessing.at_size(*size)
    return plain, dataclasses.replace(plain, input_format="uint8-nhwc")


@pytest.mark.parametrize("form", ["hybrid", "portable"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [("hf_dinat", FREE), ("hf_nat_backbone", FIXED), ("shi_dinat_s_odd", FIXED)],
    ids=["hf_dinat free", "hf_nat_backbone fixed", "shi_dinat_s_odd fixed"],
)
def test_photographs_give_what_their_normalised_numbers_give(name, settings, form):
    settings = dataclasses.replace(settings, form=form, outputs=tuple(golden_arrays(name)[1]))
    for size in SIZES[dataclasses.replace(settings, form="hybrid", outputs=())]:
        floats, pixels = (batch_from_images(PHOTOS, recipe) for recipe in recipes(name, size))
        assert (pixels.shape, pixels.dtype) == ((2, *size, 3), np.uint8)
        expected = run(exported(name, settings), floats)
        found = run(exported(name, pixel_file(settings)), pixels)
        assert list(found) == list(expected) == list(settings.outputs)
        errors = {key: error(value, found[key]) for key, value in expected.items()}
        assert max(errors.values()) <= 2e-5, errors  # worst seen: logits 1.9e-6, a feature map 6.3e-6


def test_the_reference_takes_the_same_pixels():
    """Worst of all feature maps and layers, the normalised image among them."""
    outputs = available_outputs(golden_checkpoint("hf_nat_backbone").config)
    settings = pixel_file(dataclasses.replace(FIXED, outputs=outputs))
    runner = OnnxRuntimeRunner(exported("hf_nat_backbone", settings), threads=1)
    checkpoint = golden_checkpoint("hf_nat_backbone")
    reference = NormalisingRunner(TorchRunner(checkpoint, outputs), checkpoint.preprocessing)
    assert reference.inputs[0].shape == ("batch", "height", "width", 3)
    probes = [name for name in reference.probes if name in runner.probes]
    assert probes[0] == runner.probes[0] == "normalised"
    inputs = {"pixel_values": batch_from_images(PHOTOS, runner.metadata.preprocessing)}
    found, expected = runner.run(inputs, probes), reference.run(inputs, probes)
    assert max(error(value, found[key]) for key, value in expected.items()) <= 1e-4


def test_the_first_layers_do_what_the_recipe_says():
    """By hand, in exact places: row, column and channel of single pixels."""
    path = exported("hf_dinat", pixel_file(FIXED))
    runner = OnnxRuntimeRunner(path, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    found = runner.run({"pixel_values": pixels}, ["normalised"])["normalised"]
    assert (found.shape, found.dtype) == ((2, 3, 64, 96), np.float32)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for batch, channel, row, column in ((0, 0, 0, 0), (0, 1, 3, 80), (1, 2, 63, 5), (1, 0, 20, 95)):
        expected = (int(pixels[batch, row, column, channel]) / 255 - mean[channel]) / std[channel]
        assert abs(found[batch, channel, row, column] - expected) < 3e-7


@pytest.mark.parametrize(
    "recipe",
    [
        Preprocessing((4, 5)),
        Preprocessing((4, 5), value_range=255.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        Preprocessing((4, 5), value_range=255.0, mean=(0.0,) * 3, std=(1.0,) * 3),
        Preprocessing((4, 5), value_range=2.0, mean=(1.0,) * 3, std=(1.0, 2.0, 3.0)),
        Preprocessing((4, 5), channel_order="L", mean=(0.5,), std=(0.25,)),
    ],
    ids=["imagenet", "grey levels", "as they are", "another range", "one channel"],
)
def test_every_pixel_value_is_normalised_within_float32(recipe):
    channels = len(recipe.mean)
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 8, 32, 1), (1, 8, 32, channels)).copy()
    exact = normalised(pixels, recipe, "float64")
    found = PixelNormalisation(recipe)(torch.from_numpy(pixels)).numpy()
    assert (found.shape, found.dtype) == ((1, channels, 8, 32), np.float32)
    assert np.abs(found - exact).max() <= 1.2e-7 * np.abs(exact).max()
    assert np.abs(normalised(pixels, recipe) - exact).max() <= 3e-7 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("precision", "settings"),
    [("fp32", FREE), ("fp16", FIXED), ("bf16", FREE)],
    ids=["fp32 free", "fp16 fixed", "bf16 free"],
)
def test_pixels_go_into_one_cast_and_are_normalised_in_float32(precision, settings, tmp_path):
    """TensorRT takes uint8 only as an input that goes straight into a Cast."""
    settings = dataclasses.replace(pixel_file(settings), precision=precision)
    path = tmp_path / "model.onnx"
    onnx_from_checkpoint(golden_checkpoint("hf_nat"), path, settings)
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    (pixels,) = graph.input
    assert (pixels.name, pixels.type.tensor_type.elem_type) == ("pixel_values", onnx.TensorProto.UINT8)
    dims = [dim.dim_param or dim.dim_value for dim in pixels.type.tensor_type.shape.dim]
    assert dims == ["batch", *((64, 96) if settings.image_size else ("height", "width")), 3]
    (cast,) = (node for node in graph.node if "pixel_values" in node.input)
    assert (cast.op_type, cast.attribute[0].i) == ("Cast", onnx.TensorProto.FLOAT)
    names = [node.output[0] for node in graph.node]
    first = graph.node[: names.index("normalised") + 1]
    assert [node.op_type for node in first] == ["Cast", "Sub", "Mul", "Transpose"]
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    assert {types[node.output[0]] for node in first} == {onnx.TensorProto.FLOAT}
    half = {"fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision]
    (stem,) = (node for node in graph.node if node.op_type == "Conv" and node.input[1] == "stem.projection.0.weight")
    assert types[stem.output[0]] == onnx.TensorProto.DataType.Value(half)


def test_a_model_of_channels_that_no_image_has_takes_no_pixels(tmp_path):
    checkpoint = golden_checkpoint("hf_nat")
    recipe = dataclasses.replace(checkpoint.preprocessing, channel_order=None)
    with pytest.raises(NatdeployError, match=r"a model of 3 channels, which no image has\. .*--input-format"):
        onnx_from_checkpoint(
            dataclasses.replace(checkpoint, preprocessing=recipe), tmp_path / "m.onnx", pixel_file(FIXED)
        )
    assert list(tmp_path.iterdir()) == []


def test_the_photographs_are_in_colour():
    """Otherwise exchanged channels would go unnoticed."""
    for path in PHOTOS:
        pixels = np.asarray(open_image(path), np.float64)
        assert min(np.abs(pixels[..., i] - pixels[..., j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))) > 10
