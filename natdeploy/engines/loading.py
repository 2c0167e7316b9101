"""From a plan that was checked to an engine in this process: the first place where TensorRT is imported to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from natdeploy.engines.checked_plan import CheckedPlan
from natdeploy.engines.messages import problems_of_loading
from natdeploy.engines.process import error_of_stage
from natdeploy.engines.tensorrt_module import Failed, imported, load_plugin, logger
from natdeploy.errors import NatdeployError


@dataclass
class LoadedEngine:
    """TensorRT's objects, each of which needs those before it.

    Args:
        trt: The module.
        log: The logger, with ``messages``.
        runtime: The ``Runtime``.
        engine: The ``ICudaEngine``.
    """

    trt: Any
    log: Any
    runtime: Any
    engine: Any

    @property
    def version(self) -> str:
        """The version of the module."""
        return str(self.trt.__version__)

    def release(self) -> None:
        """Let them go in order."""
        self.engine = None
        self.runtime = None


def engine_from_plan(plan: CheckedPlan) -> LoadedEngine:
    """Import TensorRT, load the plugin library where one is needed, and load the plan.

    Raises:
        NatdeployError: If a step fails, with all that TensorRT said.
    """
    backend, name = plan.backend, plan.path.name
    library = str(plan.plugin.path) if plan.plugin is not None else None
    try:
        trt = imported(backend.module())
        log = logger(trt)
        log.messages.clear()
        _check_version(plan, str(trt.__version__))
        runtime = _runtime(trt, log)
        load_plugin(trt, log, library)
    except Failed as failed:
        raise error_of_stage(backend, failed.stage, failed.problems, name, library or "") from failed
    if plan.host_code:
        runtime.engine_host_code_allowed = True
    log.messages.clear()
    content = _bytes_of(plan)
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        problems, next_step = problems_of_loading([*_invalidities(trt, runtime, content), *log.messages])
        raise NatdeployError(
            f"{backend.title} {trt.__version__} could not load '{name}'", got="; ".join(problems), next_step=next_step
        )
    return LoadedEngine(trt, log, runtime, engine)


def _runtime(trt: Any, log: Any) -> Any:
    try:
        return trt.Runtime(log)
    except TypeError as error:  # its factory returned nothing
        raise Failed("runtime", log.messages or [str(error)]) from error


def _check_version(plan: CheckedPlan, version: str) -> None:
    """Compare the version once more: what is imported may be another than the package that is installed says."""
    if plan.part is None or plan.part["options"]["version_compatible"]:
        return
    if version.split(".")[:4] != plan.part["version"].split(".")[:4]:
        raise NatdeployError(
            f"'{plan.path}' cannot be run here",
            got=f"it was built by {plan.backend.title} {plan.part['version']}, and {version} is what Python imports",
            next_step="Build it again with `natdeploy build-engine`",
        )


def _bytes_of(plan: CheckedPlan) -> bytes:
    try:
        return plan.path.read_bytes()
    except OSError as error:
        raise NatdeployError(f"cannot read '{plan.path}'", got=error.strerror) from error


def _invalidities(trt: Any, runtime: Any, content: bytes) -> list[str]:
    """Name what TensorRT for RTX finds wrong with a plan; TensorRT itself has no such check."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    _, found = runtime.get_engine_validity(content)
    members = trt.EngineInvalidityDiagnostics.__members__
    return [name for name, member in members.items() if int(found) & int(member)]
