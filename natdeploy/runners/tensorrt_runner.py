"""Runs plans of TensorRT and of TensorRT for RTX on the GPU."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from natdeploy.engines.checked_plan import CheckedPlan, checked_plan
from natdeploy.engines.cuda import CudaRuntime, DeviceWork
from natdeploy.engines.execution import Execution
from natdeploy.engines.loading import LoadedEngine, engine_from_plan
from natdeploy.engines.tensorrt_module import DTYPES
from natdeploy.engines.use import EngineUse
from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.onnx_files.metadata import Metadata
from natdeploy.runners.protocol import Array, TensorSpec, check_inputs, check_probes
from natdeploy.size_limits import SizeLimits

_DTYPES = {theirs: ours for theirs, ours in DTYPES.items() if ours != "bfloat16"}  # numpy has none

Bounds = tuple[tuple[int, ...], tuple[int, ...]]  # smallest and largest shape


class TensorRtRunner:
    """Runs a plan (see :class:`natdeploy.runners.protocol.Runner`), with the plugin library loaded where it needs it.

    Buffers on the GPU are kept between calls. They go when the runner does, or with ``close`` or a ``with`` block.

    Args:
        path: The plan; its sidecar is looked for beside it.
        use: Whether to run it as a CUDA graph, and whether it may bring code for this machine.
        described: Refuse a plan without sidecar.

    Raises:
        NatdeployError: Before TensorRT is imported, with everything that keeps the plan from running here; later, if
            TensorRT or CUDA refuses it.
    """

    probes: tuple[str, ...] = ()

    def __init__(self, path: str | Path, use: EngineUse | None = None, *, described: bool = False) -> None:
        self._path, self._use = Path(path), use or EngineUse()
        self._plan = checked_plan(self._path, self._use, described=described)
        cuda = CudaRuntime(self._plan.backend.extra)
        self._cuda_version, self._driver = cuda.versions()
        loaded = engine_from_plan(self._plan)
        self._version = loaded.version
        self.inputs, self.outputs = _specs(loaded, self._path.name)
        self._bounds = _bounds(loaded.engine, self.inputs)
        self.metadata = _metadata_of(self._plan, self._bounds)
        self.size_limits = self.metadata.size_limits if self.metadata else None
        self.name = f"{self._plan.backend.title} {loaded.version} {self._plan.gpu.name}{self._manner()}"
        self._held = _Held(loaded, DeviceWork(cuda))
        self._close = weakref.finalize(self, self._held.close)
        try:
            self._held.execution = self._execution(loaded)
        except BaseException:
            self._close()
            raise

    def _execution(self, loaded: LoadedEngine) -> Execution:
        return Execution(
            loaded.trt,
            self._plan.backend,
            loaded.engine,
            loaded.log,
            {spec.name: spec.dtype for spec in self.outputs},
            self._held.work,
            self._path.name,
            self._use.cuda_graph,
        )

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Compute all outputs; a plan has no probes."""
        self.check(inputs)
        check_probes(self, probes)
        if self._held.execution is None:
            raise NatdeployError(f"the runner of '{self._path.name}' is closed")
        return self._held.execution.run({spec.name: inputs[spec.name] for spec in self.inputs})

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Compare the inputs with what the plan takes, and with the shapes that it was built for."""
        check_inputs(self, inputs)
        outside = [name for name, bounds in self._bounds.items() if not _inside(inputs[name].shape, bounds)]
        if outside:
            options = " ".join(f"--shapes {name}=MIN,OPT,MAX" for name in outside)
            raise NatdeployError(
                f"'{self._path.name}' was not built for these shapes",
                got="; ".join(f"'{name}' of {_x(inputs[name].shape)}" for name in outside),
                needed="; ".join(f"'{name}' from {' to '.join(map(_x, self._bounds[name]))}" for name in outside),
                next_step=f"Give other sizes, or build it for these with `natdeploy build-engine` and {options}",
            )

    def environment(self) -> dict[str, str]:
        """Versions and device."""
        gpu = self._plan.gpu
        return {
            self._plan.backend.name: self._version,
            "device": f"{gpu.name}, compute capability {gpu.compute_capability}",
            "cuda": self._cuda_version,
            "driver": f"for CUDA {self._driver}",
            "plugin": str(self._plan.plugin) if self._plan.plugin is not None else _plugin_inside(self._plan),
            "cuda_graph": "yes" if self._use.cuda_graph else "no",
        }

    def close(self) -> None:
        """Give everything on the GPU back."""
        self._close()

    def __enter__(self) -> TensorRtRunner:
        """Give the runner."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _manner(self) -> str:
        words = ["TF32"] if self.metadata and self.metadata.precision["weights"] == "tf32" else []
        words += ["CUDA graph"] if self._use.cuda_graph else []
        return f" ({', '.join(words)})" if words else ""


class _Held:
    """What a runner holds outside of Python; apart from it, so that it can be let go when the runner is gone."""

    def __init__(self, loaded: LoadedEngine, work: DeviceWork) -> None:
        self.loaded, self.work = loaded, work
        self.execution: Execution | None = None

    def close(self) -> None:
        """Let all go, each before what it needs."""
        if self.execution is not None:
            self.execution.release()
            self.execution = None
        self.loaded.release()
        self.work.close()


def _specs(loaded: LoadedEngine, plan: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Describe inputs and outputs; refuse those that cannot be given as plain arrays on the GPU."""
    trt, engine = loaded.trt, loaded.engine
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    problems = []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype = str(engine.get_tensor_dtype(name).name)
        if dtype not in _DTYPES:
            problems.append(f"'{name}' is {dtype}")
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            problems.append(f"'{name}' is a shape, not on the GPU")
        if engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
            problems.append(f"'{name}' is laid out as {engine.get_tensor_format(name).name}")
        dims = tuple(int(size) for size in engine.get_tensor_shape(name))
        spec = TensorSpec(name, _DTYPES.get(dtype, dtype), tuple(size if size >= 0 else "?" for size in dims))
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).append(spec)
    if problems:
        raise NatdeployError(
            f"natdeploy cannot run '{plan}'", got="; ".join(problems), needed="row-major arrays of ordinary types"
        )
    return tuple(inputs), tuple(outputs)


def _bounds(engine: Any, inputs: Sequence[TensorSpec]) -> dict[str, Bounds]:
    """Ask for the shapes of the profile that runs, the first."""
    bounds = {}
    for spec in inputs:
        fixed = tuple(size for size in spec.shape if isinstance(size, int))
        low, high = fixed, fixed
        if len(fixed) < len(spec.shape):
            low, _, high = (tuple(map(int, dims)) for dims in engine.get_tensor_profile_shape(spec.name, 0))
        bounds[spec.name] = low, high
    return bounds


def _inside(shape: Sequence[int], bounds: Bounds) -> bool:
    low, high = bounds
    return len(shape) == len(low) and all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))


def _metadata_of(plan: CheckedPlan, bounds: Mapping[str, Bounds]) -> Metadata | None:
    """Narrow what the ONNX file accepted to what the engine was built for, and say in which precision it computes."""
    metadata = plan.metadata
    if metadata is None or plan.part is None:
        return None
    precision = dict(metadata.precision)
    if precision["weights"] == "float32" and plan.part["options"].get("tf32", True):
        precision["weights"] = "tf32"
    limits = _narrowed(metadata.size_limits, bounds.get("pixel_values"))
    return replace(metadata, precision=precision, size_limits=limits)


def _narrowed(limits: SizeLimits, bounds: Bounds | None) -> SizeLimits:
    if bounds is None or any(len(shape) != 4 for shape in bounds):
        return limits
    (batch, minimum), (most, maximum) = map(INPUT_FORMATS[limits.input_format].batch_and_size, bounds)
    fixed = batch if batch == most else None
    return replace(limits, minimum=minimum, maximum=maximum, batch=fixed, batch_range=(batch, most))


def _plugin_inside(plan: CheckedPlan) -> str:
    told = plan.part["plugin"] if plan.part is not None else None
    return f"natdeploy {told['natdeploy']}, carried by the plan" if told is not None else "none"


def _x(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
