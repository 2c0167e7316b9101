"""What the doctor says of TensorRT and the GPU, on machines that are pretended."""

import pytest

from natdeploy.engines import backends, findings
from natdeploy.engines.gpu import Gpu

H100 = Gpu("NVIDIA H100", "9.0", 132, "13.0")


@pytest.fixture
def machine(monkeypatch):
    """Give a function that sets the GPU and what the plugin was compiled for; no TensorRT is installed."""
    monkeypatch.setattr(backends, "is_installed", lambda module: False)
    monkeypatch.setattr(findings, "is_installed", lambda module: False)

    def pretend(gpu, architectures):
        monkeypatch.setattr(findings, "visible_gpu", lambda: gpu)
        monkeypatch.setattr(findings, "checked_plugin_library", lambda: "libnatdeploy_trt.so")
        monkeypatch.setattr(findings, "manifest_from_library", lambda path: {"cuda_architectures": architectures})
        return {found.subject: found for found in findings.engine_findings()}

    return pretend


def test_nothing_is_there(machine):
    found = machine(None, [])
    assert {subject: one.state for subject, one in found.items()} == {
        "TensorRT": "missing",
        "TensorRT for RTX": "missing",
        "running engines": "missing",
        "NVIDIA GPU": "missing",
    }
    assert found["running engines"].advice == ""
    assert found["TensorRT for RTX"].advice == "pip install -U 'natdeploy[tensorrt-rtx]'"


def test_what_runs_engines(machine, monkeypatch):
    found = machine(H100, [])["running engines"]
    assert (found.state, found.advice) == ("missing", "pip install -U cuda-bindings")
    monkeypatch.setattr(findings, "is_installed", lambda module: module == "cuda.bindings")
    monkeypatch.setattr(findings, "installed_distributions", lambda module: {"cuda-bindings": "13.0.3"})
    found = machine(None, [])["running engines"]
    assert (found.state, found.detail) == ("ok", "cuda-bindings 13.0.3")


def test_a_gpu_and_whether_the_plugin_has_kernels_for_it(machine):
    found = machine(H100, ["90-real"])["NVIDIA GPU"]
    assert (found.state, found.detail) == ("ok", "NVIDIA H100, compute capability 9.0, driver for CUDA 13.0")
    found = machine(H100, ["120-real"])["NVIDIA GPU"]
    assert (found.state, found.detail.endswith("for which the plugin has no kernels")) == ("problem", True)


@pytest.mark.parametrize(
    "capability, architectures, runs",
    [
        ("9.0", ["90-real"], True),
        ("9.0", ["90a-real"], True),
        ("8.9", ["80-real"], True),
        ("8.0", ["89-real"], False),
        ("9.0", ["80-real"], False),
        ("9.0", ["80-virtual"], True),
        ("9.0", ["80"], True),
        ("12.0", ["90a"], False),
        ("12.1", ["120-real"], True),
        ("7.5", ["80"], False),
        ("7.5", ["all", "75-real"], True),
    ],
)
def test_machine_code_is_for_a_major_and_ptx_for_all_that_is_newer(capability, architectures, runs):
    assert findings.has_kernels_for(capability, architectures) is runs
