"""A plan, looked at as data, and everything that keeps it from running here, said at once. Imports no TensorRT."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natdeploy.engines import cuda
from natdeploy.engines.backends import Backend, version_numbers
from natdeploy.engines.builder_config import YES
from natdeploy.engines.findings import has_kernels_for
from natdeploy.engines.gpu import Gpu, visible_gpu
from natdeploy.engines.parser_input import sha256_of
from natdeploy.engines.plan_header import header_from_plan
from natdeploy.engines.sidecar import check_same_plan, read_sidecar, reasons_against_running, sidecar_path
from natdeploy.engines.use import EngineUse
from natdeploy.environment import is_installed
from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.metadata import Metadata
from natdeploy.plugin_library import BUILD, checked_plugin_library, manifest_from_library

# Of elf.h: an object's first bytes, and its e_type and e_machine after 16 bytes.
_ELF, _ELF_BYTES, _ELF_KIND = b"\x7fELF", 20, struct.Struct("<HH")
_SHARED, _CUDA = 3, 190


@dataclass(frozen=True)
class PluginLibrary:
    """The library that a plan needs, as found here.

    Args:
        path: The file.
        manifest: What it says of itself.
        same: Whether it is, byte by byte, the one that the plan was built with; None where that is not known.
    """

    path: Path
    manifest: Mapping[str, Any]
    same: bool | None

    def __str__(self) -> str:
        """Name it for reports."""
        build = {True: "", False: ", another build than the plan's", None: ""}[self.same]
        return f"natdeploy {self.manifest.get('natdeploy_version')}, kernels {self.manifest['kernel_version']}{build}"


@dataclass(frozen=True)
class CheckedPlan:
    """A plan that nothing is known to be wrong with.

    Args:
        path: The file.
        backend: Which TensorRT built it.
        gpu: The GPU here.
        part: The sidecar's engine part; None without a sidecar.
        metadata: What the sidecar says of the model; None where it says nothing.
        plugin: The library to load before it; None where it needs none or carries it.
        host_code: Whether it brings code for this machine, and may.
    """

    path: Path
    backend: Backend
    gpu: Gpu
    part: Mapping[str, Any] | None
    metadata: Metadata | None
    plugin: PluginLibrary | None
    host_code: bool


def checked_plan(path: Path, use: EngineUse, *, described: bool = False) -> CheckedPlan:
    """Compare a plan and its sidecar with each other, with the machine and with the plugin library.

    Args:
        path: The plan; its sidecar is looked for beside it.
        use: How it is to be run.
        described: Whether the sidecar is needed.

    Raises:
        NatdeployError: If the files are damaged or do not belong together; else with everything that keeps the plan
            from running here, and what mends each.
    """
    header = header_from_plan(path)
    backend, gpu = header.backend, visible_gpu()
    part, metadata = read_sidecar(path) or (None, None)
    reasons = []
    if part is not None:
        check_same_plan(path, header, part)
    elif described:
        reasons.append(
            f"there is no '{sidecar_path(path).name}' beside it, which tells what it computes and which images it "
            "takes: copy that, too, or build again with `natdeploy build-engine`"
        )
    host_code = (host_code_of(part) if part is not None else []) or host_code_in(path)
    reasons += _reasons_of_host_code(host_code, use)
    reasons += _reasons_of_the_machine(backend, part, gpu)
    try:
        plugin = _plugin_library(part)
    except NatdeployError as error:
        reasons.append(f"it needs the plugin library: {_as_clause(str(error))}")
        plugin = None
    if plugin is not None and part is not None:
        reasons += _reasons_of_the_plugin(plugin, part["plugin"])
    told = plugin.manifest if plugin is not None else part["plugin"] if part is not None else None
    reasons += _reasons_of_kernels(told, gpu)
    if reasons:
        raise NatdeployError(f"'{path}' cannot be run here", got="; ".join(reasons))
    assert gpu is not None
    return CheckedPlan(path, backend, gpu, part, metadata, plugin, bool(host_code))


def host_code_of(part: Mapping[str, Any]) -> list[str]:
    """Name the code for the host that a plan brings, by its sidecar's engine part."""
    found = ["the plugin library"] if part["plugin"] is not None and part["plugin"]["embedded"] else []
    left_out = part["options"]["config"].get("EXCLUDE_LEAN_RUNTIME", "").lower() in YES
    if part["options"]["version_compatible"] and not left_out:
        found.append("a TensorRT runtime")
    return found


def host_code_in(path: Path) -> list[str]:
    """Look for shared libraries in the plan itself, whatever its sidecar says.

    TensorRT for RTX 1.7.1 loads a plugin library that a plan carries even where ``engine_host_code_allowed`` is not
    set, so the decision has to fall before. The kernels for the GPU are in the same format, for another machine.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_ELF)
        while start >= 0:
            head = content[start : start + _ELF_BYTES]
            if len(head) == _ELF_BYTES:
                kind, machine = _ELF_KIND.unpack_from(head, 16)
                if kind == _SHARED and machine != _CUDA:
                    return ["a shared library"]
            start = content.find(_ELF, start + 1)
    return []


def _reasons_of_host_code(brought: Sequence[str], use: EngineUse) -> list[str]:
    if not brought or use.allow_host_code:
        return []
    return [
        f"it carries {' and '.join(brought)}, whose code would run on this machine with your rights as soon as it is "
        "loaded: if you trust where it comes from, add --allow-host-code"
    ]


def _reasons_of_the_machine(backend: Backend, part: Mapping[str, Any] | None, gpu: Gpu | None) -> list[str]:
    installed = any(is_installed(module) for module in backend.modules)
    version = backend.installed_version() if installed else None
    if part is not None:  # a module without a package tells its version when it is imported
        reasons = reasons_against_running(part, version or (part["version"] if installed else None), gpu)
    else:
        reasons = [] if installed else [f"{backend.title} is not installed: pip install 'natdeploy[{backend.extra}]'"]
        reasons += [] if gpu is not None else ["no NVIDIA GPU is visible"]
    if installed and not is_installed(cuda.MODULE):
        reasons.append(f"the package '{cuda.PACKAGE}' is not installed: pip install 'natdeploy[{backend.extra}]'")
    return reasons


def _plugin_library(part: Mapping[str, Any] | None) -> PluginLibrary | None:
    """Find the library where the sidecar says that it is needed; without a sidecar, where there is one."""
    if part is None:
        try:
            path = checked_plugin_library()
        except NatdeployError:
            return None
        return PluginLibrary(path, manifest_from_library(path), None)
    if part["plugin"] is None or part["plugin"]["embedded"]:
        return None
    path = checked_plugin_library()
    return PluginLibrary(path, manifest_from_library(path), sha256_of(path) == part["plugin"]["sha256"])


def _reasons_of_the_plugin(plugin: PluginLibrary, told: Mapping[str, Any]) -> list[str]:
    """Refuse an older library than the plan's, and one without a creator that it needs."""
    manifest = plugin.manifest
    operators = {entry.get("op_type") for entry in manifest.get("operators", ())}
    here = {(name, manifest.get("plugin_version"), manifest.get("plugin_namespace")) for name in operators}
    wanted = [(one["name"], one["version"], one["namespace"]) for one in told["creators"]]
    reasons = [
        f"the plugin library '{plugin.path}' lacks {name}, version {version}, namespace {namespace}: `{BUILD}` brings "
        "the one that fits this natdeploy"
        for name, version, namespace in wanted
        if (name, version, namespace) not in here
    ]
    ours, theirs = (
        (version_numbers(str(natdeploy)), kernels if isinstance(kernels, int) else 0)
        for natdeploy, kernels in (
            (manifest.get("natdeploy_version"), manifest.get("kernel_version")),
            (told["natdeploy"], told.get("kernel_version")),
        )
    )
    if plugin.same is False and (ours[0] < theirs[0] or ours[1] < theirs[1]):
        reasons.append(
            f"the plugin library '{plugin.path}' is older (natdeploy {manifest.get('natdeploy_version')}, kernels "
            f"{ours[1]}) than the one that it was built with (natdeploy {told['natdeploy']}, kernels {theirs[1]}): "
            f"install natdeploy {told['natdeploy']} or newer with `{BUILD}`, or build the plan again"
        )
    return reasons


def _reasons_of_kernels(told: Mapping[str, Any] | None, gpu: Gpu | None) -> list[str]:
    if not told or gpu is None or not told.get("cuda_architectures"):
        return []
    architectures = list(told["cuda_architectures"])
    if has_kernels_for(gpu.compute_capability, architectures):
        return []
    return [
        f"its plugin library has kernels for {', '.join(architectures)} and none for {gpu.name} (compute capability "
        f"{gpu.compute_capability}): build it for that with `{BUILD}`"
    ]


def _as_clause(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
