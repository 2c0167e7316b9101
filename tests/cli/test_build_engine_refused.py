"""``natdeploy build-engine`` on a machine without TensorRT or a GPU, and what is refused before TensorRT starts."""

import json
import shutil
import subprocess

import onnx
import pytest
from command_line import digits_onnx, dynamic_onnx, edited, one_paragraph, plugin_onnx, portable_onnx, run
from ops.cases import Case
from ops.onnx_models import single_node_model

import natdeploy
from natdeploy.engines import backends
from natdeploy.engines.gpu import Gpu
from natdeploy.environment import is_installed
from natdeploy.errors import NatdeployError
from natdeploy.ops.spec import PACKED
from natdeploy.plugin_library import VARIABLE

OLDER = json.dumps({"schema": 1, "domain_version": 0})
H100 = Gpu("NVIDIA H100", "9.0", 132, "13.0")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(backends, "visible_gpu", lambda: None)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory that must look the same afterwards."""
    (tmp_path / "m.plan").write_bytes(b"what was there before")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rtx_is_there(monkeypatch):
    """As if TensorRT for RTX were installed; nothing in these tests gets as far as importing it."""
    monkeypatch.setattr(backends, "is_installed", lambda module: module.startswith("tensorrt_rtx"))


def fails(place, model, *arguments, says, target="m.plan", backend="tensorrt-rtx"):
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    result = run("build-engine", model, "--output", target, "--backend", backend, *arguments)
    one_paragraph(result, *says)
    assert {path: path.read_bytes() for path in place.iterdir() if path.is_file()} == before


def test_tensorrt_needs_a_gpu(place):
    says = ["TensorRT builds engines only where it sees an NVIDIA GPU, and there is none here", "tensorrt-rtx"]
    fails(place, digits_onnx(), says=says, backend="tensorrt")
    result = run("build-engine", digits_onnx(), "-o", "m.plan")  # it is the default
    one_paragraph(result, *says)


def test_in_python(place):
    with pytest.raises(NatdeployError, match="only where it sees an NVIDIA GPU"):
        natdeploy.engine_from_onnx(digits_onnx(), "m.plan")
    assert (place / "m.plan").read_bytes() == b"what was there before"


@pytest.mark.skipif(is_installed("tensorrt_rtx_bindings") or is_installed("tensorrt"), reason="TensorRT is installed")
def test_tensorrt_that_is_not_installed(place, monkeypatch):
    says = ["needs the package 'tensorrt_rtx'", "pip install 'natdeploy[tensorrt-rtx]'"]
    fails(place, digits_onnx(), says=says)
    monkeypatch.setattr(backends, "visible_gpu", lambda: H100)
    says = ["needs the package 'tensorrt'", "pip install 'natdeploy[tensorrt]'"]
    fails(place, digits_onnx(), says=says, backend="tensorrt")


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--timing-cache", "nowhere/times"], ["cannot keep the timing cache", "no directory 'nowhere'"]),
        (["--shapes", "1x1x32x32,9x1x32x32,8x1x32x32"], ["dimension 0 goes from 1 over 9 to 8", "MIN ≤ OPT ≤ MAX"]),
        (["--shapes", "0x1x32x32"], ["dimension 0 goes from 0"]),
        (["--shapes", "1x1x32x48"], ["MIN 1x1x32x48 differs where the file's size is fixed", "[batch, 1, 32, 32]"]),
        (["--shapes", "1x32x32"], ["MIN 1x32x32 has 3 dimensions, not 4"]),
        (["--shapes", "image=1x1x32x32"], ["no input is called 'image'", "pixel_values [batch, 1, 32, 32]"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_wishes_that_do_not_fit(place, rtx_is_there, arguments, says):
    fails(place, digits_onnx(), *arguments, says=says)


def test_tensorrt_for_rtx_has_no_version_compatible_plans(place, rtx_is_there):
    result = run("build-engine", digits_onnx(), "-o", "m.plan", "--backend", "tensorrt-rtx", "--version-compatible")
    one_paragraph(result, "TensorRT for RTX has no version-compatible plans", "Leave --version-compatible out")


def test_shapes_outside_of_what_the_file_accepts(place, rtx_is_there):
    says = ["MAX 3x1x80x72 is outside of what the file accepts: 40 to 72 (height and width)"]
    arguments = ("--shapes", "3x1x40x40,3x1x40x40,3x1x80x72")
    fails(place, dynamic_onnx(), *arguments, says=says)


@pytest.mark.parametrize(
    "target, says",
    [
        ("nowhere/m.plan", "no directory 'nowhere'"),
        ("m.engine", "does not end in .plan"),
        (".", "does not end in .plan"),
    ],
)
def test_targets(place, rtx_is_there, target, says):
    fails(place, digits_onnx(), says=[says], target=target)


def test_files_that_are_no_models(place, rtx_is_there):
    (place / "text.onnx").write_text("This is no protobuf.")
    fails(place, "text.onnx", says=["text.onnx"])
    fails(place, "missing.onnx", says=["there is no ONNX file"])


def test_an_op_of_a_newer_version(place, rtx_is_there):
    def newer(model):
        next(opset for opset in model.opset_import if opset.domain == "natdeploy").version = 2

    edited(digits_onnx(), place / "newer.onnx", newer)
    says = ["'newer.onnx' uses version 2 of the natdeploy operator", "Update natdeploy"]
    fails(place, "newer.onnx", says=says)


def test_a_file_that_is_half_already(place, rtx_is_there):
    assert run("convert", digits_onnx(), "-o", "half.onnx").status == 0
    fails(place, "half.onnx", "--bf16", says=["cannot convert the precision of 'half.onnx'", "float16 tensors already"])


def test_free_sizes_of_files_that_others_wrote(place, rtx_is_there):
    case = Case((9, 22), (5, 3), batch=2, heads=2, head_dim=16)
    onnx.save(single_node_model(case, PACKED, "plugin", free=True), place / "op.onnx")
    says = ["'op.onnx' leaves sizes free", "qkv [batch, extent0, extent1, 96]", "--shapes qkv=MIN,OPT,MAX"]
    fails(place, "op.onnx", says=says)


def test_no_plugin_library(place, rtx_is_there, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(natdeploy, "__path__", [str(place)])
    says = ["the TensorRT plugin library is not installed", "NATDEPLOY_PLUGINS=required pip install ."]
    fails(place, plugin_onnx(), says=says)


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc, a C compiler, is not installed")
@pytest.mark.parametrize(
    "source, says",
    [
        ("int others(void) { return 1; }", "is not natdeploy's plugin library"),
        (
            f"const char* natdeploy_manifest(void) {{ return {json.dumps(OLDER)}; }}",
            "domain_version is 0 in the library, 1 in natdeploy",
        ),
    ],
    ids=["foreign", "older"],
)
def test_other_plugin_libraries(place, rtx_is_there, monkeypatch, source, says):
    library = place / "other.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=source, text=True, check=True)
    monkeypatch.setenv(VARIABLE, str(library))
    fails(place, plugin_onnx(), says=[says])


def test_nothing_to_embed(place, rtx_is_there):
    says = ["there is no plugin to embed", "Leave --embed-plugin out"]
    fails(place, portable_onnx(), "--embed-plugin", says=says)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--backend", "openvino"],
        ["--shapes", "1x2,3x4"],
        ["--shapes", "pixel_values=axb"],
        ["--shapes", "x=1", "--shapes", "x=2"],
        ["--fp16", "--bf16"],
        ["--workspace", "lots"],
        ["--workspace", "0"],
        ["--optimization-level", "6"],
        ["--config", "TF32"],
        ["--config", "=1"],
    ],
    ids=" ".join,
)
def test_wrong_usage(place, arguments):
    result = run("build-engine", digits_onnx(), "-o", "m.plan", *arguments)
    assert (result.status, result.out) == (2, "")
    assert "Traceback" not in result.err
