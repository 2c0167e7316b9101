"""Shapes that an engine is built for where nobody asks for any: what the file accepts, in the order of its axes."""

import dataclasses

import pytest
from command_line import dynamic_onnx

from natdeploy.engines.profiles import Points, profile_of
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.runners import runner_for_artifact
from natdeploy.size_limits import SizeLimits


@pytest.fixture(scope="module")
def metadata():
    return runner_for_artifact(dynamic_onnx()).metadata


@pytest.mark.parametrize("name", INPUT_FORMATS)
@pytest.mark.parametrize("batch", [3, "batch"])
def test_every_size_that_the_file_accepts(metadata, name, batch):
    recipe = dataclasses.replace(metadata.preprocessing, input_format=name, crop_size=(48, 64))
    limits = SizeLimits((40, 40), (56, 72), input_format=name)
    metadata = dataclasses.replace(metadata, preprocessing=recipe, size_limits=limits)
    shape = INPUT_FORMATS[name].shape
    dims = shape(batch, 1, "height", "width")
    sizes = ((1, 40, 40), (1, 48, 64), (8, 56, 72))
    expected = Points(*(shape(3 if batch == 3 else n, 1, height, width) for n, height, width in sizes))
    assert profile_of({"pixel_values": dims}, {}, metadata, "m.onnx") == {"pixel_values": expected}


@pytest.mark.parametrize("name", INPUT_FORMATS)
def test_a_file_of_any_number_of_channels_does_not_say(metadata, name):
    recipe = dataclasses.replace(metadata.preprocessing, input_format=name)
    metadata = dataclasses.replace(metadata, preprocessing=recipe)
    dims = INPUT_FORMATS[name].shape("batch", "channels", 40, 40)
    with pytest.raises(Exception, match=r"leaves sizes free .*--shapes pixel_values=MIN,OPT,MAX"):
        profile_of({"pixel_values": dims}, {}, metadata, "m.onnx")
