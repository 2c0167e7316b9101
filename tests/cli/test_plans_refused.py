"""Plans that ``natdeploy verify`` and ``natdeploy infer`` cannot run: one paragraph each, pretended and for real."""

import _ctypes
import json
import shutil
import sys

import numpy as np
import pytest
from command_line import DIGITS, IMAGES, digits_onnx, one_paragraph, run
from engines import plans, rtx
from engines.pretended_machine import MANIFEST, uninstall, write_plan
from engines.small_onnx import small_onnx

from natdeploy.engines import backends, checked_plan
from natdeploy.engines.checked_plan import host_code_in
from natdeploy.engines.gpu import Gpu
from natdeploy.errors import NatdeployError

FREE = {"min": [3, 1, 40, 40], "opt": [3, 1, 48, 48], "max": [3, 1, 64, 72]}
A100 = Gpu("NVIDIA A100", "8.0", 108, "13.0")
BUILT_BY = (
    "Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version \
tag does not match. Note: Current Version: 240, Serialized Engine Version: 239)"
)
DEVICE = (
    "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, expecting compute \
9.0 got compute 8.6, please rebuild.)"
)


def _changed_plan(**how):
    def change(plan, machine, monkeypatch):
        write_plan(plan, small_onnx(), **how)

    return change


def _with_content(content):
    def change(plan, machine, monkeypatch):
        plan.write_bytes(content(plan.read_bytes()))

    return change


def _with_machine(**attributes):
    def change(plan, machine, monkeypatch):
        for name, value in attributes.items():
            setattr(machine, name, value)

    return change


def _without_library(plan, machine, monkeypatch):
    def missing():
        raise NatdeployError("the TensorRT plugin library is not installed", next_step="Install it")

    monkeypatch.setattr(checked_plan, "checked_plugin_library", missing)


def _without_tensorrt(plan, machine, monkeypatch):
    uninstall(monkeypatch, "tensorrt_rtx", "tensorrt_rtx_bindings")


def _without_cuda(plan, machine, monkeypatch):
    uninstall(monkeypatch, "cuda.bindings")


def _without_its_libraries(plan, machine, monkeypatch):
    (plan.parent / "tensorrt_rtx.py").write_text(
        "raise OSError('libtensorrt_rtx.so.1: cannot open shared object file')"
    )
    monkeypatch.delitem(sys.modules, "tensorrt_rtx")
    monkeypatch.syspath_prepend(plan.parent)


def _without_gpu(plan, machine, monkeypatch):
    monkeypatch.setattr(checked_plan, "visible_gpu", lambda: None)


def _on_an_a100(plan, machine, monkeypatch):
    monkeypatch.setattr(checked_plan, "visible_gpu", lambda: A100)


def _another_version(plan, machine, monkeypatch):
    monkeypatch.setattr(backends.Backend, "installed_version", lambda self: "1.8.0.3")


def _another_import(plan, machine, monkeypatch):
    monkeypatch.setattr(sys.modules["tensorrt_rtx"], "__version__", "1.8.0.3")


def _hidden_library(plan, machine, monkeypatch):
    write_plan(plan, small_onnx(), tail=_elf(190) + _elf(62) + bytes(9))  # kernels, then x86-64


def _elf(machine):
    return b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + bytes([3, 0, machine, 0])


def _another_sidecar(plan, machine, monkeypatch):
    shutil.copy(write_plan(plan.with_name("o.plan"), small_onnx(free=True), profile=FREE).with_name("o.plan.json"),
                plan.with_name("m.plan.json"))  # fmt: skip


def _without_sidecar(plan, machine, monkeypatch):
    plan.with_name("m.plan.json").unlink()


def test_kernels_for_the_gpu_are_no_code_for_this_machine(machine, tmp_path):
    plan = write_plan(tmp_path / "m.plan", small_onnx(), tail=_elf(190) + bytes(4) + _elf(190)[:18])
    assert run("infer", plan, IMAGES[0]).status == 0


BAD = {
    "no plan": (lambda plan, *_: plan.unlink(), ["there is no plan"]),
    "a text": (_with_content(lambda old: b"This is a text."), ["is no TensorRT plan", "natdeploy build-engine"]),
    "truncated": (_with_content(lambda old: old[:4000]), ["is a plan that was cut off", "4000 bytes"]),
    "other bytes": (_with_content(lambda old: old[:-1] + b"\1"), ["'m.plan.json' do not belong together"]),
    "sidecar of another plan": (_another_sidecar, ["'m.plan.json' do not belong together"]),
    "no sidecar": (_without_sidecar, ["there is no 'm.plan.json' beside it", "natdeploy build-engine"]),
    "no gpu": (_without_gpu, ["cannot be run here", "no NVIDIA GPU is visible"]),
    "other gpu": (
        _changed_plan(gpu=vars(A100)),
        ["it was built for NVIDIA A100, and this is NVIDIA H100", "hardware_compatibility_level"],
    ),
    "no kernels for the gpu": (_on_an_a100, ["has kernels for 90-real and none for NVIDIA A100"]),
    "no kernels inside": (
        _changed_plan(content={"host_code": True}, plugin={"embedded": True, "cuda_architectures": ["120-real"]}),
        ["has kernels for 120-real and none for NVIDIA H100", "--allow-host-code"],
    ),
    "other version": (_another_version, ["it was built by TensorRT for RTX 1.7.1.116, and 1.8.0.3 is installed"]),
    "other version imported": (_another_import, ["and 1.8.0.3 is what Python imports"]),
    "no tensorrt": (_without_tensorrt, ["TensorRT for RTX is not installed: pip install 'natdeploy[tensorrt-rtx]'"]),
    "tensorrt without its libraries": (
        _without_its_libraries,
        ["TensorRT for RTX is installed, but cannot be loaded", "libtensorrt_rtx.so.1", "pip install -U"],
    ),
    "no cuda-bindings": (_without_cuda, ["'cuda-bindings' is not installed: pip install 'natdeploy[tensorrt-rtx]'"]),
    "no plugin library": (_without_library, ["it needs the plugin library", "is not installed. Install it"]),
    "foreign plugin library": (
        _with_machine(manifest={**MANIFEST, "operators": [{"op_type": "NeighborhoodAttention"}]}),
        ["lacks PackedNeighborhoodAttention, version 1, namespace natdeploy"],
    ),
    "older plugin library": (
        _changed_plan(plugin={"natdeploy": "0.2.0", "kernel_version": 3}),
        ["is older (natdeploy 0.1.0, kernels 1) than the one that it was built with (natdeploy 0.2.0, kernels 3)"],
    ),
    "refused plugin library": (_with_machine(refused_plugin=True), ["does not take the plugin library"]),
    "runtime that cannot start": (_with_machine(no_runtime=True), ["TensorRT for RTX 1.7.1.116 cannot be started"]),
    "old driver": (
        _with_machine(driver=12040),
        ["the NVIDIA driver is too old", "for CUDA 12.4", "for CUDA 13 or newer"],
    ),
    "no device": (_with_machine(devices=0), ["CUDA sees no GPU"]),
    "out of memory": (_with_machine(capacity=1000), ["the GPU is out of memory"]),
    "plugin not found": (
        _changed_plan(plugin=None),
        ["could not load 'm.plan'", "it needs a plugin that is not loaded", "natdeploy doctor"],
    ),
    "host code that the sidecar hides": (_hidden_library, ["it carries a shared library", "--allow-host-code"]),
    "host code that nobody saw": (
        _changed_plan(content={"host_code": True}),
        ["it brings code for this machine", "--allow-host-code"],
    ),
    "cut off where no header tells": (
        _changed_plan(
            content={
                "says": "Error Code 1: Serialization (Serialization assertion plan.header.size == blobSize \
failed. In parsePlan at /_src/runtime.cpp:780)"
            }
        ),
        ["it was cut off, or is damaged"],
    ),
    "no driver for this tensorrt": (
        _changed_plan(content={"says": "Error Code 1: Cuda Runtime (In X at /_src/x.cpp:25 (cudaError 35: driver))"}),
        ["the NVIDIA driver is missing, or too old for this TensorRT", "Update the driver"],
    ),
    "out of memory in tensorrt": (
        _changed_plan(
            content={"says": "Error Code 1: Cuda Runtime (In X at /_src/x.cpp:25 (cudaError 2: out of memory))"}
        ),
        ["the GPU is out of memory (cudaError 2: out of memory)", "End other programs"],
    ),
    "version tag": (_changed_plan(content={"says": BUILT_BY}), ["it was built by another version (", "build-engine"]),
    "device": (_changed_plan(content={"says": DEVICE}), ["it was built for another GPU (The engine plan file is gen"]),
    "not for this gpu": (
        _changed_plan(content={"says": "Error Code 4: (x)", "invalid": 2}),
        ["it is not for this GPU (UNSUPPORTED_CC); x", "natdeploy build-engine"],
    ),
    "silence": (_changed_plan(content={"says": " "}), ["could not load 'm.plan'"]),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_run_is_one_paragraph(machine, tmp_path, monkeypatch, what):
    change, says = BAD[what]
    plan = write_plan(tmp_path / "m.plan", small_onnx())
    change(plan, machine, monkeypatch)
    for command in (("verify", plan, "--against", _recorded(tmp_path)), ("infer", plan, IMAGES[0])):
        one_paragraph(run(*command), *says)


def record(path, batch):
    sizes = {"pixel_values": (1, 32, 32), "logits": (10,), "pooled": (4,)}
    np.savez(path, **{name: np.zeros((batch, *size), np.float32) for name, size in sizes.items()})
    return path


def _recorded(directory):
    path = directory / "r.npz"
    return record(path, 1)


def test_shapes_outside_of_the_profile(machine, tmp_path):
    recorded = tmp_path / "r.npz"
    record(recorded, 9)
    plan = write_plan(tmp_path / "m.plan", small_onnx())
    says = ("'m.plan' was not built for these shapes", "of 9x1x32x32", "from 1x1x32x32 to 8x1x32x32", "--shapes")
    one_paragraph(run("verify", plan, "--against", recorded), *says)


def test_everything_that_is_wrong_is_said_at_once(machine, tmp_path, monkeypatch):
    plan = write_plan(tmp_path / "m.plan", small_onnx(), platform={"machine": "aarch64"})
    for change in (_without_gpu, _another_version, _without_library, _without_cuda):
        change(plan, machine, monkeypatch)
    says = ("1.8.0.3 is installed", "Linux aarch64", "no NVIDIA GPU", "cuda-bindings", "the plugin library")
    one_paragraph(run("verify", plan, "--checkpoint", DIGITS), *says)


def test_a_plan_of_a_file_that_natdeploy_did_not_write(machine, tmp_path):
    plan = write_plan(tmp_path / "m.plan", small_onnx())
    sidecar = tmp_path / "m.plan.json"
    sidecar.write_text(json.dumps({"engine": json.loads(sidecar.read_text("utf-8"))["engine"]}), "utf-8")
    one_paragraph(run("verify", plan, "--checkpoint", DIGITS), "what it should compute is unknown")
    one_paragraph(run("infer", plan, IMAGES[0]), "its preprocessing and labels are unknown")


def test_on_this_machine_as_it_is(tmp_path):
    """Nothing is pretended: whatever is missing here is said before TensorRT is looked for."""
    plan = plans.write_plan(tmp_path / "m.plan")
    for command in (("verify", plan, "--checkpoint", DIGITS), ("infer", plan, IMAGES[0])):
        one_paragraph(run(*command), "cannot be run here", "TensorRT for RTX is not installed")


@pytest.fixture(scope="module")
def real_plans(tmp_path_factory):
    """Plans that TensorRT for RTX built, plain and with the plugin inside; and a recording."""
    directory = tmp_path_factory.mktemp("plans")
    for name, options in (("m.plan", ["--fp16"]), ("e.plan", ["--embed-plugin"])):
        built = rtx.run("build-engine", digits_onnx(), "-o", directory / name, "--backend", "tensorrt-rtx", *options)
        assert built.status == 0, built.err
    return directory


@pytest.mark.slow
def test_real_plans_are_refused_where_there_is_no_gpu(real_plans):
    no_gpu = ("cannot be run here", "no NVIDIA GPU is visible")
    for command in (("verify", real_plans / "m.plan", "--against", _recorded(real_plans)),
                    ("infer", real_plans / "m.plan", IMAGES[0])):  # fmt: skip
        one_paragraph(rtx.run(*command), *no_gpu)
        one_paragraph(rtx.run(*command, NATDEPLOY_PLUGIN_LIBRARY="/nowhere.so"), *no_gpu, "NATDEPLOY_PLUGIN_LIBRARY")
    one_paragraph(rtx.run("infer", real_plans / "e.plan", IMAGES[0]), *no_gpu, "--allow-host-code")
    assert (host_code_in(real_plans / "m.plan"), host_code_in(real_plans / "e.plan")) == ([], ["a shared library"])
    foreign = rtx.run("infer", real_plans / "m.plan", IMAGES[0], NATDEPLOY_PLUGIN_LIBRARY=_ctypes.__file__)
    one_paragraph(foreign, *no_gpu, "it needs the plugin library", "is not natdeploy's plugin library")
    allowed = rtx.run("infer", real_plans / "e.plan", IMAGES[0], "--allow-host-code")
    one_paragraph(allowed, *no_gpu)
    assert "--allow-host-code" not in allowed.err


# A GPU that is none, so that TensorRT itself is asked to load the plan.
SEES_A_GPU = """
from natdeploy.engines import checked_plan, cuda
from natdeploy.engines.gpu import Gpu
checked_plan.visible_gpu = lambda: Gpu("RTX 4090", "9.0", 128, "13.0")
checked_plan.is_installed = lambda module: True
cuda.CudaRuntime.__init__ = lambda self, extra: None
cuda.CudaRuntime.versions = lambda self: ("13.0", "13.0")
"""


@pytest.mark.slow
def test_what_tensorrt_says_of_a_real_plan_is_one_paragraph(real_plans):
    """Up to here everything runs for real: plugin, module, runtime, and the plan, for which CUDA is missing."""
    result = rtx.run("infer", real_plans / "m.plan", IMAGES[0], before=SEES_A_GPU)
    one_paragraph(result, "TensorRT for RTX 1.7.1.116 could not load 'm.plan'", "the NVIDIA driver is missing")
