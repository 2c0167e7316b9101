"""A machine with a pretended GPU, TensorRT and plugin library, and plans for it."""

from __future__ import annotations

import gc
import importlib.machinery
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
from engines import plans, pretended_cuda
from engines.pretended_tensorrt import HEADER, tensorrt_module

from natdeploy.engines import backends, checked_plan
from natdeploy.engines.gpu import Gpu
from natdeploy.ops.spec import OPERATORS

H100 = Gpu("NVIDIA H100", "9.0", 132, "13.0")
VERSIONS = {"tensorrt": "10.15.1.29", "tensorrt-rtx": "1.7.1.116"}
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
MANIFEST = {
    "natdeploy_version": "0.1.0",
    "plugin_namespace": "natdeploy",
    "plugin_version": "1",
    "kernel_version": 1,
    "cuda_architectures": ["90-real"],
    "operators": [{"op_type": name} for name in OPERATORS],
}


@dataclass
class Machine(pretended_cuda.Machine):
    """The GPU, and how TensorRT behaves on it.

    Args:
        events: What TensorRT was asked to load, in order.
        refused_plugin: Whether its registry refuses the library.
        no_runtime: Whether it cannot start.
    """

    events: list[str] = field(default_factory=list)
    refused_plugin: bool = False
    no_runtime: bool = False
    library: Path = Path()
    manifest: dict[str, Any] = field(default_factory=lambda: dict(MANIFEST))


def pretended_machine(monkeypatch: Any, directory: Path) -> Machine:
    """Let natdeploy see a GPU, both TensorRTs, cuda-bindings and a plugin library."""
    machine = Machine()
    for backend, name in MODULES.items():
        install(monkeypatch, tensorrt_module(machine, name, VERSIONS[backend]))
    install(monkeypatch, ModuleType("cuda"))
    install(monkeypatch, ModuleType("cuda.bindings"))
    install(monkeypatch, pretended_cuda.runtime_module(machine))
    machine.library = directory / "libnatdeploy_trt.so"
    machine.library.write_bytes(b"no library")
    monkeypatch.setattr(checked_plan, "visible_gpu", lambda: H100)
    monkeypatch.setattr(checked_plan, "checked_plugin_library", lambda: machine.library)
    monkeypatch.setattr(checked_plan, "manifest_from_library", lambda path: machine.manifest)
    monkeypatch.setattr(backends.Backend, "installed_version", lambda self: VERSIONS[self.name])
    return machine


def install(monkeypatch: Any, module: ModuleType) -> None:
    """Let a module be found and imported."""
    module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def uninstall(monkeypatch: Any, *names: str) -> None:
    """Let modules not be found."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def assert_used_well(machine: Machine) -> None:
    """Nothing was misused, and all was given back."""
    assert machine.misuse == []
    if machine.leaks():  # what only a collection lets go
        gc.collect()
    assert machine.leaks() == []


def write_plan(
    path: Path,
    source: Path,
    backend: str = "tensorrt-rtx",
    profile: dict[str, list[int]] | None = None,
    content: dict[str, Any] | None = None,
    tail: bytes = b"",
    **changes: Any,
) -> Path:
    """Write a plan that runs an ONNX file, and its sidecar.

    Args:
        path: The plan.
        source: The ONNX file, one of ours.
        backend: For which TensorRT.
        profile: Of ``pixel_values``: min, opt and max; of digits at 32x32 where not given.
        content: What else the pretended TensorRT reads in the plan.
        tail: The plan's last bytes.
        changes: Of the sidecar's engine part; a dictionary changes a part of what is there.
    """
    profile = profile or {"min": [1, 1, 32, 32], "opt": [1, 1, 32, 32], "max": [8, 1, 32, 32]}
    profiles = [{"pixel_values": profile}]
    inside = json.dumps({"onnx": str(source), "plugin": True, "profiles": profiles, **(content or {})}).encode()
    size = max(HEADER + len(inside), 4096) + len(tail)
    version = tuple(int(number) for number in VERSIONS[backend].split("."))
    plan = bytearray(plans.plan_bytes(backend, version, size))
    plan[HEADER : HEADER + len(inside)] = inside
    plan[size - len(tail) :] = tail
    path.write_bytes(plan)
    part = plans.engine(bytes(plan), backend=backend, version=VERSIONS[backend], profiles=profiles)
    if backend == "tensorrt":
        part["gpu"] = dict(vars(H100))
    for key, value in changes.items():
        part[key] = {**part[key], **value} if isinstance(value, dict) and isinstance(part[key], dict) else value
    (entry,) = (entry for entry in onnx.load(source).metadata_props if entry.key == "natdeploy")
    path.with_name(f"{path.name}.json").write_text(json.dumps({**json.loads(entry.value), "engine": part}), "utf-8")
    return path
