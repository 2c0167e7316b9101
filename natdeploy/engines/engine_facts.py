"""What TensorRT itself says of a plan, where this machine can load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from natdeploy.engines.checked_plan import checked_plan
from natdeploy.engines.loading import LoadedEngine, engine_from_plan
from natdeploy.engines.tensorrt_module import DTYPES
from natdeploy.engines.use import EngineUse


def facts_from_tensorrt(path: Path) -> dict[str, Any]:
    """Load a plan and ask. That trusts the file more than reading it does; code that a plan carries is not run.

    Args:
        path: The plan; its sidecar is looked for beside it.

    Returns:
        Plain JSON types: the engine's tensors, shapes and memory.

    Raises:
        NatdeployError: With all that keeps this machine from loading it, or TensorRT's reason against it.
    """
    loaded = engine_from_plan(checked_plan(path, EngineUse()))
    try:
        return _facts(loaded)
    finally:
        loaded.release()


def _facts(loaded: LoadedEngine) -> dict[str, Any]:
    engine = loaded.engine
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == loaded.trt.TensorIOMode.INPUT]
    return {
        "loaded_by": f"{loaded.trt.__name__} {loaded.version}",
        "device_memory_bytes": int(engine.device_memory_size_v2),
        "layers": int(engine.num_layers),
        "auxiliary_streams": int(engine.num_aux_streams),
        "inputs": [_tensor(engine, name) for name in inputs],
        "outputs": [_tensor(engine, name) for name in names if name not in inputs],
        "shapes": [
            f"{name} {' / '.join('x'.join(map(str, dims)) for dims in engine.get_tensor_profile_shape(name, profile))}"
            for profile in range(engine.num_optimization_profiles)
            for name in inputs
            if any(size < 0 for size in engine.get_tensor_shape(name))
        ]
        or ["fixed"],
    }


def _tensor(engine: Any, name: str) -> dict[str, Any]:
    dtype = str(engine.get_tensor_dtype(name).name)
    return {
        "name": name,
        "dtype": DTYPES.get(dtype, dtype),
        "shape": [int(size) for size in engine.get_tensor_shape(name)],
    }
