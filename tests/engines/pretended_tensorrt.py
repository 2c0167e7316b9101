"""A pretended TensorRT: its plans name an ONNX file, which ONNX Runtime runs on the memory of a pretended GPU.

It has what natdeploy calls, under the same names and with the same rules: shapes and addresses must be set before a
run, the first run of a set of shapes cannot be recorded, and what is refused says so in the logger alone.
"""

from __future__ import annotations

import ctypes
import enum
import json
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from engines.pretended_cuda import Machine

from natdeploy.ops.spec import OPERATORS

HEADER = 32  # bytes before a plan's content

_KINDS = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(uint8)": "UINT8"}
_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8}

DataType = enum.Enum("DataType", "FLOAT HALF BF16 UINT8")
TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
TensorLocation = enum.Enum("TensorLocation", "DEVICE HOST")
TensorFormat = enum.Enum("TensorFormat", "LINEAR HWC8")
CudaGraphStrategy = enum.Enum("CudaGraphStrategy", "DISABLED WHOLE_GRAPH_CAPTURE")
DynamicShapesKernelSpecializationStrategy = enum.Enum("DynamicShapesKernelSpecializationStrategy", "LAZY EAGER NONE")
EngineInvalidityDiagnostics = enum.IntFlag("EngineInvalidityDiagnostics", "VERSION_MISMATCH UNSUPPORTED_CC")


def _inside(content: bytes) -> dict[str, Any]:
    """Read what the plan says; anything may follow."""
    return json.JSONDecoder().raw_decode(content[HEADER:].decode("latin-1"))[0]


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class Registry:
    """Knows the creators of libraries that were loaded."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.all_creators = machine, []
        self.log: weakref.ref[ILogger] | None = None  # the first that there was, for good

    def load_library(self, path: str) -> object | None:
        self.machine.events.append(f"plugin {Path(path).name}")
        if self.machine.refused_plugin or self.all_creators:  # no library twice, as in TensorRT for RTX 1.7.1
            return None
        self.all_creators = [
            SimpleNamespace(name=name, plugin_version="1", plugin_namespace="natdeploy") for name in OPERATORS
        ]
        return object()


class Runtime:
    """Loads plans."""

    machine: Machine
    registry: Registry
    rtx = False

    def __init__(self, log: Any) -> None:
        if self.machine.no_runtime:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.log, self.engine_host_code_allowed = log, False
        self.registry.log = self.registry.log or weakref.ref(log)
        if self.registry.log() is not log:
            self.machine.misuse.append("another logger than the registry's, which calls that even when it is gone")

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        plan = _inside(content)
        self.machine.events.append("deserialize" + (" with host code" if self.engine_host_code_allowed else ""))
        says = plan.get("says")
        if plan.get("host_code") and not self.engine_host_code_allowed:
            says = "Error Code 4: API Usage Error (The engine contains host code: set engine_host_code_allowed.)"
        elif plan.get("plugin") and not plan.get("host_code") and not self.registry.all_creators:
            says = (
                "Error Code 1: Serialization (Serialization assertion creator failed.Cannot deserialize plugin since \
corresponding IPluginCreatorInterface not found in Plugin Registry)"
            )
        if says:
            self.log.log(ILogger.ERROR, f"IRuntime::deserializeCudaEngine: {says}")
            self.log.log(ILogger.WARNING, "a warning, which explains nothing")
            return None
        return Engine(plan, self.machine, self.log)


class RtxRuntime(Runtime):
    """As TensorRT for RTX has it."""

    def get_engine_validity(self, content: bytes) -> tuple[object, int]:
        plan = _inside(content)
        return object(), plan.get("invalid", 0)


class Engine:
    """What a plan holds: an ONNX file, and the shapes that it is for."""

    def __init__(self, plan: dict[str, Any], machine: Machine, log: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(plan["onnx"], options, providers=["CPUExecutionProvider"])
        self.plan, self.machine, self.log = plan, machine, log
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.values = {v.name: v for v in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.values)
        self.num_layers, self.num_aux_streams, self.device_memory_size_v2 = 7, 1, 3 << 20
        self.num_optimization_profiles = len(plan["profiles"])

    def get_tensor_name(self, index: int) -> str:
        return list(self.values)[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.plan.get("dtype") or _KINDS[self.values[name].type]]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation[self.plan.get("location", "DEVICE")]

    def get_tensor_format(self, name: str) -> TensorFormat:
        return TensorFormat[self.plan.get("format", "LINEAR")]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.values[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.plan["profiles"][profile][name].values()]

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: Any = None) -> Context | None:
        if self.plan.get("no_context"):
            self.log.log(ILogger.ERROR, "[allocate] Error Code 2: OutOfMemory (Requested size was 9 bytes.)")
            return None
        how = (config.cuda_graph_strategy, config.dynamic_shapes_kernel_specialization_strategy) if config else ()
        self.machine.events.append(" ".join(["context", *(strategy.name for strategy in how)]))
        return Context(self, config)


class RuntimeConfig:
    """How a context of TensorRT for RTX runs, as long as nobody says otherwise."""

    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY


class Context:
    """Shapes, addresses, and runs."""

    def __init__(self, engine: Engine, config: Any) -> None:
        self.engine, self.machine = engine, engine.machine
        self.config = weakref.ref(config) if config is not None else lambda: True
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.prepared: dict[str, tuple[int, ...]] | None = None  # shapes of the last run
        self.known: dict[tuple, dict[str, tuple[int, ...]]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        if not all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
            self.machine.misuse.append(f"{name} as {shape}, which is outside of the profile")
            return False
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if set(self.shapes) != set(self.engine.inputs) or self.engine.plan.get("data_dependent"):
            return (-1,)
        if name in self.shapes:
            return self.shapes[name]
        key = tuple(self.shapes.items())
        if key not in self.known:
            zeros = {n: np.zeros(s, self._dtype(n)) for n, s in self.shapes.items()}
            found = self.engine.session.run(None, zeros)
            names = [value.name for value in self.engine.session.get_outputs()]
            self.known[key] = {n: array.shape for n, array in zip(names, found, strict=True)}
        return self.known[key][name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.values

    def is_stream_capturable(self, stream: int) -> bool:
        return not self.engine.plan.get("not_capturable")

    def execute_async_v3(self, handle: int) -> bool:
        stream = self.machine.stream(handle)
        sizes = {name: self._bytes(name) for name in self.engine.values}
        unset = [name for name in self.engine.values if sizes[name] is None or name not in self.addresses]
        if self.config() is None:
            self.machine.misuse.append("run of a context whose configuration is gone")
        if stream is None or unset:
            self.machine.misuse.append(f"run without shape or address: {', '.join(unset)}")
            return False
        if any(self.machine.place(self.addresses[name], size, name) is None for name, size in sizes.items()):
            return False
        if self.engine.plan.get("fails"):
            self.engine.log.log(ILogger.ERROR, "Error Code 1: Cuda Runtime (misaligned address)")
            return False
        if stream.recording is not None and (self.engine.plan.get("not_capturable") or self.prepared != self.shapes):
            stream.broken = True
            self.engine.log.log(ILogger.ERROR, "Error Code 1: Cuda Runtime (operation not permitted when capturing)")
            return False
        shapes, addresses = dict(self.shapes), dict(self.addresses)

        def compute() -> None:
            if shapes != self.shapes:
                self.machine.misuse.append("replay after a change of shapes")
            self._compute(shapes, addresses, sizes)

        self.prepared = shapes
        self.machine.put(stream, compute)
        return True

    def _compute(self, shapes: dict, addresses: dict[str, int], sizes: dict[str, int]) -> None:
        if any(self.machine.place(addresses[name], size, name) is None for name, size in sizes.items()):
            return
        inputs = {
            name: np.frombuffer(ctypes.string_at(addresses[name], sizes[name]), self._dtype(name)).reshape(shape)
            for name, shape in shapes.items()
        }
        outputs = [value.name for value in self.engine.session.get_outputs()]
        for name, array in zip(outputs, self.engine.session.run(outputs, inputs), strict=True):
            ctypes.memmove(addresses[name], array.tobytes(), array.nbytes)

    def _dtype(self, name: str) -> type:
        return _NUMPY[_KINDS[self.engine.values[name].type]]

    def _bytes(self, name: str) -> int | None:
        shape = self.get_tensor_shape(name)
        return None if -1 in shape else int(np.prod(shape)) * np.dtype(self._dtype(name)).itemsize


def tensorrt_module(machine: Machine, name: str, version: str) -> ModuleType:
    """Make what ``import tensorrt`` or ``import tensorrt_rtx`` would give on a machine."""
    module = ModuleType(name)
    registry = Registry(machine)
    base = RtxRuntime if "rtx" in name else Runtime
    module.Runtime = type("Runtime", (base,), {"machine": machine, "registry": registry})
    module.get_plugin_registry = lambda: registry
    module.__version__ = version
    for thing in (ILogger, DataType, TensorIOMode, TensorLocation, TensorFormat):
        setattr(module, thing.__name__, thing)
    if "rtx" in name:
        module.CudaGraphStrategy = CudaGraphStrategy
        module.DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy
        module.EngineInvalidityDiagnostics = EngineInvalidityDiagnostics
    return module
