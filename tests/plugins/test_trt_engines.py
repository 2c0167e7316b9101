"""TensorRT for RTX 1.7.1 builds engines without a GPU: every attention layer of what we export is a plugin in them."""

import json
import shutil
import sys

import ml_dtypes
import onnx
import pytest
from onnx_files.exported import exported
from ops.cases import Case
from ops.onnx_models import ELEMENT, single_node_model
from plugins.trt_build import attempt, plugin_library, run
from side_environments import ROOT, python_with

from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.ops.spec import DOMAIN, PACKED, SPLIT

SCRIPT = ROOT / "tests" / "plugins" / "trt_in_rtx.py"
PACKAGES = ("tensorrt-rtx-cu13-libs==1.7.1.116", "tensorrt-rtx-cu13-bindings==1.7.1.116", "numpy")
CASE = Case((9, 22), (5, 3), dilation=(1, 2), has_rpb=True, batch=2, heads=2, head_dim=16)

TYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}

pytestmark = pytest.mark.slow


def _libraries(python):
    return next((python.parents[1] / "lib").glob("python*/site-packages/tensorrt_rtx_libs"))


@pytest.fixture(scope="module")
def search_path(tmp_path_factory):
    """The parser opens its library by a name without version, which the package does not bring."""
    links = tmp_path_factory.mktemp("rtx")
    (links / "libtensorrt_rtx.so").symlink_to(_libraries(python_with(*PACKAGES)) / "libtensorrt_rtx.so.1")
    return str(links)


@pytest.fixture(scope="module")
def build(search_path):
    """Build an engine in a process of its own, so that a crash is a failure and not the end of the test run."""

    def build_engine(model, mode="load", library=None, **profile):
        arguments = [json.dumps(profile)] if profile else []
        command = (python_with(*PACKAGES), SCRIPT, library or plugin_library(), model, mode, *arguments)
        done = attempt(*command, LD_LIBRARY_PATH=search_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return build_engine


@pytest.fixture(scope="module")
def installed_library(tmp_path_factory):
    """The library where pip puts it: in the folder of packages that holds TensorRT's own."""
    packages = tmp_path_factory.mktemp("site-packages")
    (packages / "tensorrt_rtx_libs").symlink_to(_libraries(python_with(*PACKAGES)))
    (packages / "natdeploy" / "lib").mkdir(parents=True)
    return shutil.copy(plugin_library(), packages / "natdeploy" / "lib")


def _assert_every_layer_is_a_plugin(seen, path, dtype="float32"):
    """By name, and computing in ``dtype``."""
    nodes = [node for node in onnx.load(path, load_external_data=False).graph.node if node.domain == DOMAIN]
    assert seen["parsed"], seen["messages"]
    assert seen["plugins"] == {node.name: TYPES[dtype] for node in nodes} != {}
    assert seen["layers"]["PLUGIN_V3"] == len(nodes)
    assert seen["engine_bytes"], seen["messages"]


def _saved(model, tmp_path):
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_golden_model_of_fixed_size(build):
    path = exported("hf_nat", ExportSettings(form="plugin", image_size=(64, 96), batch=2))
    _assert_every_layer_is_a_plugin(build(path), path)


@pytest.mark.parametrize("name", ["hf_nat", "hf_dinat"])
def test_golden_model_of_free_size(build, name):
    """Down to 32 px, where maps are padded up to the window by computed amounts."""
    path = exported(name, ExportSettings(form="plugin", dynamic_size=(32, 256)))
    points = [[1, 3, 32, 32], [2, 3, 96, 128], [4, 3, 256, 256]]
    _assert_every_layer_is_a_plugin(build(path, pixel_values=points), path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
def test_golden_model_in_half_precision(build, tmp_path, dtype, free):
    sizes = {"dynamic_size": (32, 256)} if free else {"image_size": (64, 96), "batch": 2}
    model = onnx.load(exported("hf_dinat", ExportSettings(form="plugin", **sizes)))
    path = _saved(_in_half_precision(model, dtype), tmp_path)
    points = [[1, 3, 32, 32], [2, 3, 96, 128], [4, 3, 256, 256]]
    _assert_every_layer_is_a_plugin(build(path, **({"pixel_values": points} if free else {})), path, dtype)


def _in_half_precision(model, dtype):
    """Type everything as ``dtype`` but rpb, which the operator takes in float32."""
    graph = model.graph
    kept = {node.input[1] for node in graph.node if node.op_type == PACKED}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in kept:
            values = onnx.numpy_helper.to_array(tensor).astype(getattr(ml_dtypes, dtype, dtype))
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = ELEMENT[dtype]
    del graph.value_info[:]
    return model


def test_the_plugin_wins_over_the_functions_of_a_hybrid_model(build):
    path = exported("hf_nat", ExportSettings(image_size=(64, 96), batch=2))
    assert onnx.load(path).functions
    _assert_every_layer_is_a_plugin(build(path), path)


def test_random_nat_mini(build, tmp_path):
    path = tmp_path / "nat_mini.onnx"
    run(sys.executable, "-m", "natdeploy", "export", "random:nat_mini", "--form", "plugin", "-o", path)
    points = [[1, 3, 224, 224], [2, 3, 224, 224], [4, 3, 224, 224]]
    seen = build(path, pixel_values=points)
    _assert_every_layer_is_a_plugin(seen, path)
    assert len(seen["plugins"]) == 18


@pytest.mark.parametrize("op_type", [PACKED, SPLIT])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
def test_single_op(build, tmp_path, op_type, dtype, free):
    path = _saved(single_node_model(CASE, op_type, "plugin", free=free, dtype=dtype, rpb_constant=True), tmp_path)
    channels = [96] if op_type == PACKED else [2, 16]
    points = [[1, 6, 8, *channels], [2, 9, 22, *channels], [4, 40, 30, *channels]]
    names = ["qkv"] if op_type == PACKED else ["query", "key", "value"]
    _assert_every_layer_is_a_plugin(build(path, **(dict.fromkeys(names, points) if free else {})), path, dtype)


def test_a_library_that_was_only_dlopened_is_found(build, tmp_path):
    path = _saved(single_node_model(CASE, PACKED, "plugin", rpb_constant=True), tmp_path)
    _assert_every_layer_is_a_plugin(build(path, "dlopen_after"), path)


def test_an_installed_library_finds_the_tensorrt_that_is_loaded_later(build, installed_library, tmp_path):
    path = _saved(single_node_model(CASE, PACKED, "plugin", rpb_constant=True), tmp_path)
    _assert_every_layer_is_a_plugin(build(path, "dlopen_before", installed_library), path)


def test_polygraphy_builds_with_the_plugin(search_path, installed_library, tmp_path):
    """It opens plugin libraries before it imports TensorRT."""
    path = _saved(single_node_model(CASE, PACKED, "plugin", rpb_constant=True), tmp_path)
    polygraphy = python_with("polygraphy==0.53.6", *PACKAGES).with_name("polygraphy")
    alias = "from tensorrt_rtx_bindings import *\nfrom tensorrt_rtx_bindings import __version__\n"
    (tmp_path / "tensorrt_rtx.py").write_text(alias)  # as the package tensorrt-rtx has it
    plan = tmp_path / "model.plan"
    words = ("convert", path, "--convert-to", "trt", "--plugins", installed_library, "--output", plan)
    environment = {"LD_LIBRARY_PATH": search_path, "PYTHONPATH": str(tmp_path), "POLYGRAPHY_USE_TENSORRT_RTX": "1"}
    done = attempt(polygraphy.with_name("python"), polygraphy, *words, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"PackedNeighborhoodAttention" in plan.read_bytes()


def test_the_plugin_wins_over_the_function_of_the_hybrid_form(build, tmp_path):
    path = _saved(single_node_model(CASE, PACKED, "hybrid", rpb_constant=True), tmp_path)
    seen = build(path)
    _assert_every_layer_is_a_plugin(seen, path)
    assert "MATRIX_MULTIPLY" not in seen["layers"]


def test_the_library_can_be_embedded_in_the_plan(build, tmp_path):
    path = _saved(single_node_model(CASE, PACKED, "plugin", rpb_constant=True), tmp_path)
    alone, embedded = build(path)["engine_bytes"], build(path, "embed")["engine_bytes"]
    assert embedded - alone >= plugin_library().stat().st_size


def _without(name):
    def change(node):
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)

    return change


def _with(name, value):
    def change(node):
        _without(name)(node)
        node.attribute.append(onnx.helper.make_attribute(name, value))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("scale"), "createPlugin: scale is missing"),
        (_with("plugin_version", "2"), "Plugin not found"),
        (_with("kernel_size", [11, 3]), "getOutputShapes: kernel_size 11x3 times dilation 1x2 exceeds the map 9x22"),
        (_with("kernel_size", [5, 3, 3]), "createPlugin: kernel_size has 3 values where 2 are needed (height, width)"),
        (_with("kernel_size", 5), "createPlugin: kernel_size has 1 values where 2 are needed (height, width)"),
        (_with("scale", float("nan")), "createPlugin: scale is not finite"),
        (_with("scale", 1), "createPlugin: scale has TensorRT's field type 5 where float32 is needed"),
        (_with("dilation", [0, 1]), "createPlugin: dilation 0x1 is not positive"),
        (_with("stride", [2, 1]), "createPlugin: stride 2x1 is not supported"),
        (_with("is_causal", [1, 0]), "createPlugin: is_causal is not supported"),
        (_with("num_heads", 5), "getOutputShapes: qkv has 96 channels, which 3 * num_heads = 15 does not divide"),
    ],
)
def test_broken_models_are_refused_with_a_reason(build, tmp_path, change, message):
    case = Case(CASE.extents, CASE.kernel_size, dilation=CASE.dilation, batch=2, heads=2, head_dim=16)
    model = single_node_model(case, PACKED, "plugin")
    change(model.graph.node[0])
    seen = build(_saved(model, tmp_path))
    assert (seen["parsed"], seen["engine_bytes"]) == (False, None)
    assert message in "\n".join(seen["messages"])


def test_a_bias_in_half_precision_is_refused(build, tmp_path):
    model = single_node_model(CASE, PACKED, "plugin", dtype="float16", rpb_constant=True)
    (rpb,) = model.graph.initializer
    rpb.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(rpb).astype("float16"), "rpb"))
    seen = build(_saved(model, tmp_path))
    assert (seen["parsed"], seen["engine_bytes"]) == (False, None)
    assert "getOutputDataTypes: rpb is not float32" in "\n".join(seen["messages"])


def test_a_tensor_of_the_wrong_rank_is_refused(build, tmp_path):
    model = single_node_model(Case(CASE.extents, CASE.kernel_size), PACKED, "plugin")
    axes = model.graph.input[0].type.tensor_type.shape.dim
    del axes[0]
    seen = build(_saved(model, tmp_path))
    assert (seen["parsed"], seen["engine_bytes"]) == (False, None)
    assert "getOutputShapes: qkv has 3 axes where 4 are needed" in "\n".join(seen["messages"])


def test_a_window_larger_than_every_map_of_the_profile_is_refused(build, tmp_path):
    case = Case((9, 22), (7, 3), batch=2, heads=2, head_dim=16)
    path = _saved(single_node_model(case, PACKED, "plugin", free=True), tmp_path)
    seen = build(path, qkv=[[1, 5, 8, 96], [1, 5, 9, 96], [1, 6, 9, 96]])
    assert (seen["parsed"], seen["engine_bytes"]) == (True, None)
    assert "configurePlugin: kernel_size 7x3 times dilation 1x1 exceeds the map 6x9" in "\n".join(seen["messages"])
