"""What an engine is built with, apart from the ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from natdeploy.engines.backends import BACKENDS, TENSORRT_RTX, Backend
from natdeploy.engines.profiles import Points
from natdeploy.errors import NatdeployError


@dataclass(frozen=True)
class EngineSettings:
    """How to build an engine.

    Args:
        backend: ``tensorrt`` or ``tensorrt-rtx``.
        precision: ``fp32`` for the file as it is; ``fp16`` or ``bf16`` convert it first.
        shapes: Smallest, best and largest shape by input; under the empty name for a file's only input.
        timing_cache: File of measured times, read where it exists and written afterwards.
        workspace: Bytes that layers may use for intermediate results; None for TensorRT's own limit.
        optimization_level: 0 (quick build) to 5 (quick engine); None for TensorRT's own choice.
        embed_plugin: Carry the plugin library inside the plan.
        version_compatible: Let newer TensorRT versions run the plan.
        config: Further settings of TensorRT's own builder configuration, by name.
        dry_run: Do everything but build.
    """

    backend: str = "tensorrt"
    precision: str = "fp32"
    shapes: Mapping[str, Points] = field(default_factory=dict)
    timing_cache: Path | None = None
    workspace: int | None = None
    optimization_level: int | None = None
    embed_plugin: bool = False
    version_compatible: bool = False
    config: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False

    def checked_backend(self) -> Backend:
        """Give the backend, once it is clear that these settings and this machine are for it.

        Raises:
            NatdeployError: If there is no such backend, it cannot do what is asked, or cannot build here.
        """
        if self.backend not in BACKENDS:
            raise NatdeployError(f"there is no backend '{self.backend}'", needed=" or ".join(BACKENDS))
        backend = BACKENDS[self.backend]
        if self.version_compatible and backend is TENSORRT_RTX:
            raise NatdeployError(
                f"{backend.title} has no version-compatible plans: a plan runs on the version that built it",
                next_step="Leave --version-compatible out",
            )
        backend.check_machine()
        backend.module()
        return backend
