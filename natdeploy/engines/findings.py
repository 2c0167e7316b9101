"""The doctor's lines on engines: which TensorRTs are there, whether they take the plugin, and the GPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from natdeploy.engines import cuda
from natdeploy.engines.backends import BACKENDS, Backend
from natdeploy.engines.gpu import visible_gpu
from natdeploy.engines.process import answer_of_worker
from natdeploy.environment import Finding, installed_distributions, is_installed
from natdeploy.errors import MissingDependencyError, NatdeployError
from natdeploy.plugin_library import checked_plugin_library, manifest_from_library


def engine_findings() -> list[Finding]:
    """Look for TensorRT, TensorRT for RTX and a GPU; each TensorRT is started, in a process of its own."""
    try:
        plugin: Path | None = checked_plugin_library()
    except NatdeployError:  # which has a line of its own
        plugin = None
    architectures = manifest_from_library(plugin).get("cuda_architectures", ()) if plugin is not None else None
    backends = [_backend_finding(backend, plugin) for backend in BACKENDS.values()]
    return [*backends, _runtime_finding(), _gpu_finding(architectures)]


def _backend_finding(backend: Backend, plugin: Path | None) -> Finding:
    install = f"pip install -U 'natdeploy[{backend.extra}]'"
    try:
        backend.module()
    except MissingDependencyError:
        return Finding(backend.title, "missing", f"not installed: {backend.modules[0]}", install)
    request = {"action": "probe", "plugin": str(plugin) if plugin is not None else None}
    try:
        version = answer_of_worker(backend, request, "the plugin library")["version"]
    except NatdeployError as error:
        detail = f"{error.what}: {error.got}" if error.got else error.what
        return Finding(backend.title, "problem", detail, error.next_step or install)
    return Finding(backend.title, "ok", f"{version}, {'takes the plugin' if plugin is not None else 'without plugin'}")


def _runtime_finding() -> Finding:
    """Look for what runs an engine beside its TensorRT; only a machine with a GPU can have use for it."""
    subject = "running engines"
    if not is_installed(cuda.MODULE):
        advice = f"pip install -U {cuda.PACKAGE}" if visible_gpu() is not None else ""
        return Finding(subject, "missing", f"not installed: {cuda.PACKAGE}", advice)
    return Finding(subject, "ok", ", ".join(f"{n} {v}" for n, v in installed_distributions(cuda.MODULE).items()))


def _gpu_finding(architectures: Sequence[str] | None) -> Finding:
    gpu = visible_gpu()
    if gpu is None:
        return Finding("NVIDIA GPU", "missing", "none is visible: engines build with TensorRT for RTX alone")
    detail = f"{gpu.name}, compute capability {gpu.compute_capability}, driver for CUDA {gpu.driver}"
    if architectures is not None and not has_kernels_for(gpu.compute_capability, architectures):
        advice = "Build the plugin for it: NATDEPLOY_PLUGINS=required pip install ."
        return Finding("NVIDIA GPU", "problem", f"{detail}, for which the plugin has no kernels", advice)
    return Finding("NVIDIA GPU", "ok", detail)


def has_kernels_for(compute_capability: str, architectures: Sequence[str]) -> bool:
    """Whether a library compiled for ``architectures`` runs on a GPU.

    Args:
        compute_capability: ``9.0``.
        architectures: As CMake has them: ``90-real`` is machine code, which newer GPUs of the same major run, too;
            ``90-virtual`` is PTX, for every newer GPU; ``90`` is both. ``90a`` is for that one GPU alone.
    """
    major, minor = map(int, compute_capability.split("."))
    here = 10 * major + minor
    for architecture in architectures:
        match = re.fullmatch(r"([0-9]+)([af]?)(-real|-virtual)?", architecture)
        if match is None:
            continue
        number, special, kind = int(match[1]), match[2], match[3]
        same_major = number // 10 == major and number <= here
        if number == here or (not special and (same_major if kind == "-real" else number <= here)):
            return True
    return False
