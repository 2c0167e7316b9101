"""The doctor's line on the plugin library. Libraries here are a few lines of C: only their manifest is read."""

import json
import shutil
import subprocess

import pytest
from command_line import run

import natdeploy
from natdeploy.ops import spec
from natdeploy.plugin_library import VARIABLE, checked_plugin_library

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="cc, a C compiler, is not installed")

MANIFEST = {
    "schema": 1,
    "natdeploy_version": "0.0.9",
    "domain": spec.DOMAIN,
    "domain_version": spec.DOMAIN_VERSION,
    "plugin_namespace": spec.PLUGIN_NAMESPACE,
    "plugin_version": spec.PLUGIN_VERSION,
    "dtypes": list(spec.TENSOR_DTYPES),
    "operators": [
        {"op_type": name, "attributes": [{"name": a.name, "type": a.type.value} for a in operator.attributes]}
        for name, operator in spec.OPERATORS.items()
    ],
    "kernel_version": 7,
    "cuda_version": "13.0",
    "cuda_architectures": ["80-real", "120"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the installed package keeps what was built; empty."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(natdeploy, "__path__", [str(tmp_path)])
    (tmp_path / "lib").mkdir()
    return tmp_path / "lib"


def _write_library(path, **changes):
    text = json.dumps(json.dumps({**MANIFEST, **changes}))
    source = f"const char* natdeploy_manifest(void) {{ return {text}; }}"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=source, text=True, check=True)


def _finding():
    (found,) = (f for f in run("doctor", "--json").json["findings"] if f["subject"] == "TensorRT plugin")
    return found["state"], found["detail"], found["advice"]


def test_a_library_that_fits(folder):
    _write_library(folder / "libnatdeploy_trt.so")
    path = folder / "libnatdeploy_trt.so"
    assert _finding() == ("ok", f"{path}: kernels 7, CUDA 13.0, for 80-real, 120", "")
    assert checked_plugin_library() == path


def test_differences_are_one_line(folder):
    operators = [{**MANIFEST["operators"][0], "attributes": MANIFEST["operators"][0]["attributes"][1:]}]
    _write_library(folder / "libnatdeploy_trt.so", plugin_version="2", operators=operators)
    state, detail, advice = _finding()
    assert (state, advice) == ("problem", "NATDEPLOY_PLUGINS=required pip install .")
    assert detail.endswith(
        "does not fit: plugin_version is '2' in the library, '1' in natdeploy; PackedNeighborhoodAttention: attribute "
        "'num_heads' is in natdeploy only; the library does not compute NeighborhoodAttention"
    )


def test_none_is_there(folder):
    state, detail, advice = _finding()
    assert (state, detail) == ("missing", "the TensorRT plugin library is not installed")
    assert (
        advice
        == f"Install natdeploy from its repository with `NATDEPLOY_PLUGINS=required pip install .`, or set {VARIABLE}"
    )


def test_what_was_left_out_at_installation_is_remembered(folder):
    (folder / "left_out.txt").write_text("No nvcc was found. Install CUDA.\nNo headers were found. Name an SDK.\n")
    state, detail, advice = _finding()
    assert state == "missing"
    assert detail == (
        "the TensorRT plugin library is not installed: "
        "left out at installation (No nvcc was found; No headers were found)"
    )
    assert advice.startswith(
        "Install CUDA. Name an SDK. Install natdeploy from its repository with `NATDEPLOY_PLUGINS="
    )


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (None, "names is not a file"),
        ("text", "cannot be loaded"),
        ({"schema": 2}, "cannot be read: schema 2"),
    ],
)
def test_a_named_library_that_is_none_is_a_problem(folder, tmp_path, monkeypatch, content, detail):
    _write_library(folder / "libnatdeploy_trt.so")  # would be found, were none named
    named = tmp_path / "named.so"
    if isinstance(content, dict):
        _write_library(named, **content)
    elif content:
        named.write_text(content)
    monkeypatch.setenv(VARIABLE, str(named))
    state, found, advice = _finding()
    assert state == "problem"
    assert detail in found
    assert advice
