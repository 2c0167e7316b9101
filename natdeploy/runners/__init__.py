"""Everything that can compute a model's outputs, behind one protocol (protocol.py).

The registry says which file suffix is run by what; whoever adds a backend adds a file here and a line below.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from natdeploy.engines.use import PLAN_SUFFIXES
from natdeploy.engines.use import EngineUse as EngineUse
from natdeploy.engines.use import is_plan as is_plan
from natdeploy.errors import ContradictionError, NatdeployError
from natdeploy.runners.onnx_as_data import checked_file
from natdeploy.runners.onnx_reference_runner import OnnxReferenceRunner
from natdeploy.runners.onnxruntime_runner import OnnxRuntimeRunner
from natdeploy.runners.protocol import ArtifactRunner as ArtifactRunner
from natdeploy.runners.protocol import Runner as Runner
from natdeploy.runners.protocol import SizeLimits as SizeLimits
from natdeploy.runners.protocol import TensorSpec as TensorSpec


def _runner_for_onnx(path: Path, use: EngineUse, described: bool) -> ArtifactRunner:
    """Choose by what the file holds: ONNX Runtime's CPU has next to no bfloat16 kernels."""
    file = checked_file(path)
    return OnnxReferenceRunner(file) if file.holds_bfloat16 else OnnxRuntimeRunner(file)


def _runner_for_plan(path: Path, use: EngineUse, described: bool) -> ArtifactRunner:
    from natdeploy.runners.tensorrt_runner import TensorRtRunner

    return TensorRtRunner(path, use, described=described)


REGISTRY: dict[str, Callable[[Path, EngineUse, bool], ArtifactRunner]] = {
    ".onnx": _runner_for_onnx,
    **dict.fromkeys(PLAN_SUFFIXES, _runner_for_plan),
}


def runner_for_artifact(
    path: str | Path, engine: EngineUse | None = None, *, described: bool = False
) -> ArtifactRunner:
    """Open an artifact with the backend that its suffix names.

    Args:
        path: The file.
        engine: How to run it where it is a plan.
        described: Refuse a plan without the sidecar that says what it computes.

    Raises:
        ContradictionError: If ``engine`` asks for what such a file cannot have.
        NatdeployError: If nothing runs such files, or the backend refuses this one.
    """
    path, engine = Path(path), engine or EngineUse()
    if problems := engine.problems(path):
        raise ContradictionError(f"cannot run '{path.name}' with these options", got="; ".join(problems))
    if path.suffix not in REGISTRY:
        raise NatdeployError(
            f"cannot run '{path.name or path}'",
            got=f"a file that ends in '{path.suffix}'" if path.suffix else "a file without suffix",
            needed=f"a file that ends in {', '.join(REGISTRY)}",
        )
    return REGISTRY[path.suffix](path, engine, described)
