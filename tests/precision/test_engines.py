"""TensorRT for RTX, whose networks are strongly typed, builds converted files: every layer a plugin, in its type."""

import pytest
from onnx_files.exported import exported
from plugins.test_trt_engines import _assert_every_layer_is_a_plugin, build, search_path  # noqa: F401

from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.precision.files import converted_from_onnx

pytestmark = pytest.mark.slow

NAMES = {"fp16": "float16", "bf16": "bfloat16"}
SIZES = {"fixed": {"image_size": (64, 96), "batch": 2}, "free": {"dynamic_size": (32, 256)}}
POINTS = [[1, 3, 32, 32], [2, 3, 96, 128], [4, 3, 256, 256]]


def converted(name, form, size, precision, tmp_path):
    path = tmp_path / "model.onnx"
    converted_from_onnx(exported(name, ExportSettings(form=form, **SIZES[size])), path, precision)
    return path, {"pixel_values": POINTS} if size == "free" else {}


@pytest.mark.parametrize("precision", NAMES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "form"),
    [("hf_nat", "plugin"), ("hf_nat", "hybrid"), ("hf_dinat", "plugin"), ("shi_dinat_s_odd", "plugin")],
)
def test_every_attention_layer_is_a_plugin(build, tmp_path, name, form, size, precision):  # noqa: F811
    path, profile = converted(name, form, size, precision, tmp_path)
    _assert_every_layer_is_a_plugin(build(path, **profile), path, NAMES[precision])


@pytest.mark.parametrize("precision", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_the_portable_form_needs_no_plugin(build, tmp_path, size, precision):  # noqa: F811
    path, profile = converted("hf_dinat", "portable", size, precision, tmp_path)
    seen = build(path, **profile)
    assert seen["engine_bytes"], seen["messages"]
    assert "PLUGIN_V3" not in seen["layers"]
