"""The two TensorRTs that build engines, and what sets them apart. Imports neither."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from natdeploy.engines.gpu import visible_gpu
from natdeploy.environment import is_installed
from natdeploy.errors import MissingDependencyError, NatdeployError


@dataclass(frozen=True)
class Backend:
    """One flavour of TensorRT.

    Args:
        name: On the command line and in sidecars.
        title: For people.
        modules: Python modules that it may come as, the preferred one first.
        distributions: Packages that tell the version of these modules.
        extra: The extra of natdeploy that brings it.
        needs_gpu: Whether it builds on a machine with a GPU only.
        tag: First four bytes of its plans.
        link: A library file's name that its parser opens and its package does not bring, and the file that it means.
        libraries: The module whose folder holds that file.
    """

    name: str
    title: str
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    extra: str
    needs_gpu: bool
    tag: bytes
    link: tuple[str, str] | None = None
    libraries: str | None = None

    def module(self) -> str:
        """Give the module to import.

        Raises:
            MissingDependencyError: If none is installed.
        """
        for module in self.modules:
            if is_installed(module):
                return module
        raise MissingDependencyError(self.modules[0], f"building engines with {self.title}", self.extra)

    def installed_version(self) -> str | None:
        """Give the version that its package tells, if it is installed as one."""
        for distribution in self.distributions:
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None

    def check_machine(self) -> None:
        """Refuse a machine on which it cannot build.

        Raises:
            NatdeployError: If it needs a GPU and none is visible, or is not made for this system.
        """
        if self.needs_gpu and visible_gpu() is None:
            raise NatdeployError(
                f"{self.title} builds engines only where it sees an NVIDIA GPU, and there is none here",
                next_step="Build on the machine that will run the engine, or use --backend tensorrt-rtx, which needs "
                "no GPU to build (its engines run on GeForce and RTX GPUs from Turing on)",
            )
        if not sys.platform.startswith("linux"):
            raise NatdeployError("natdeploy builds engines on Linux", got=sys.platform)

    def library_link(self) -> tuple[str, Path] | None:
        """Give the name of the link that its process needs on its library path, and what the link points to."""
        if self.link is None or self.libraries is None or not is_installed(self.libraries):
            return None
        spec = importlib.util.find_spec(self.libraries)
        folders = spec.submodule_search_locations if spec is not None else None
        files = [Path(folder) / self.link[1] for folder in folders or ()]
        return next(((self.link[0], file) for file in files if file.is_file()), None)

    def prefers_functions(self, version: str) -> bool:
        """Whether its parser takes a function in the file where a plugin of that name is registered, too.

        TensorRT's parser does so up to 10.6; from 10.7 on, and in TensorRT for RTX 1.7, a node that names its plugin's
        namespace gets the plugin.
        """
        return self.name == "tensorrt" and version_numbers(version)[:2] < (10, 7)


TENSORRT = Backend(
    name="tensorrt",
    title="TensorRT",
    modules=("tensorrt", "tensorrt_bindings"),
    distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings"),
    extra="tensorrt",
    needs_gpu=True,
    tag=b"ftrt",
)

# Its parser opens libtensorrt_rtx.so to reach plugins and ends the process where that fails; the package of 1.7.1 has
# libtensorrt_rtx.so.1 alone.
TENSORRT_RTX = Backend(
    name="tensorrt-rtx",
    title="TensorRT for RTX",
    modules=("tensorrt_rtx", "tensorrt_rtx_bindings"),
    distributions=("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx"),
    extra="tensorrt-rtx",
    needs_gpu=False,
    tag=b"vtrt",
    link=("libtensorrt_rtx.so", "libtensorrt_rtx.so.1"),
    libraries="tensorrt_rtx_libs",
)

BACKENDS = {backend.name: backend for backend in (TENSORRT, TENSORRT_RTX)}


def version_numbers(version: str) -> tuple[int, ...]:
    """Give the numbers that a version begins with."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
