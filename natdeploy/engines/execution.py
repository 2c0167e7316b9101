"""Running a loaded engine: shapes, buffers and, on request, a CUDA graph."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from natdeploy.engines.backends import TENSORRT_RTX, Backend
from natdeploy.engines.cuda import Array, DeviceWork
from natdeploy.engines.messages import problems_of_loading, problems_of_log
from natdeploy.errors import NatdeployError


class Execution:
    """An execution context and what it works on (not for several threads at a time).

    With ``cuda_graph``, the work for a set of input shapes is recorded after it ran once, and what is given comes from
    the recording; other shapes, or buffers elsewhere, are recorded anew. TensorRT for RTX records by itself, when it
    has compiled the kernels for a set of shapes, so it is only told to, and to compile them before the first run:
    otherwise it does that beside the runs, which go on without a recording until then.

    Args:
        trt: The TensorRT module.
        backend: Which TensorRT that is.
        engine: A loaded engine.
        log: Its logger.
        outputs: Types of the outputs, by name.
        work: Stream and buffers.
        plan: What to call the engine in errors.
        cuda_graph: Whether to run as a CUDA graph.

    Raises:
        NatdeployError: If TensorRT cannot make a context, as where memory is lacking.
    """

    def __init__(
        self,
        trt: Any,
        backend: Backend,
        engine: Any,
        log: Any,
        outputs: Mapping[str, str],
        work: DeviceWork,
        plan: str,
        cuda_graph: bool,
    ) -> None:
        self._backend, self._log, self._outputs, self._work, self._plan = backend, log, dict(outputs), work, plan
        self._by_itself = cuda_graph and backend is TENSORRT_RTX
        self._recording = cuda_graph and not self._by_itself
        self._recorded: object = None
        self._shapes: dict[str, tuple[int, ...]] = {}  # what the context knows
        self._places: dict[str, int] = {}
        self._result_shapes: dict[str, tuple[int, ...]] = {}
        self._config: Any = None  # lives as long as the context, which can be asked for it
        log.messages.clear()
        if self._by_itself:
            self._config = config = engine.create_runtime_config()
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            config.dynamic_shapes_kernel_specialization_strategy = eager
            self._context = engine.create_execution_context(config)
        else:
            self._context = engine.create_execution_context()
        if self._context is None:
            problems, next_step = problems_of_loading(log.messages)
            raise NatdeployError(
                f"{backend.title} cannot prepare '{plan}' for running", got="; ".join(problems), next_step=next_step
            )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs.

        Args:
            inputs: All inputs, of shapes and types that the engine takes.

        Raises:
            NatdeployError: If TensorRT or CUDA refuses, or the work cannot be recorded.
        """
        self._log.messages.clear()
        given = {name: np.asarray(array, order="C") for name, array in inputs.items()}
        try:
            self._set_shapes({name: tuple(array.shape) for name, array in given.items()})
            results = {n: np.empty(shape, np.dtype(self._outputs[n])) for n, shape in self._result_shapes.items()}
            self._set_places({n: self._work.reserve(n, array.nbytes) for n, array in {**given, **results}.items()})
            for name, array in given.items():
                self._work.upload(name, array)
            if self._recording:
                self._run_recorded()
            else:
                self._check_capturable()
                self._enqueue()
            for name, array in results.items():
                self._work.download(name, array)
            self._work.synchronize()
        except BaseException:
            with contextlib.suppress(NatdeployError):  # nothing may write into arrays that are about to go
                self._work.synchronize()
            raise
        return results

    def release(self) -> None:
        """Let the context go, then what it was made with."""
        self._context = None
        self._config = None

    def _set_shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Tell TensorRT the input shapes where they changed, and ask for those of the outputs."""
        if shapes == self._shapes:
            return
        self._shapes = {}
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise self._refused(f"does not take '{name}' as {'x'.join(map(str, shape))}")
        self._result_shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self._outputs}
        if unknown := [name for name, shape in self._result_shapes.items() if any(size < 0 for size in shape)]:
            raise self._refused(f"cannot tell the shapes of {', '.join(unknown)} before it runs")
        self._shapes = shapes

    def _set_places(self, places: dict[str, int]) -> None:
        """Tell TensorRT where the buffers are, where that changed."""
        for name, address in places.items():
            if self._places.get(name) != address:
                self._places.pop(name, None)
                if not self._context.set_tensor_address(name, address):
                    raise self._refused(f"does not take a buffer for '{name}'")
                self._places[name] = address

    def _run_recorded(self) -> None:
        """Run by the graph that was recorded for these shapes and places, or record one.

        The run before recording lets TensorRT do what it does once per set of shapes, which no graph can hold. Its
        results are overwritten, so that what is given is the graph's.
        """
        key = (dict(self._shapes), dict(self._places))
        if self._recorded != key:
            self._recorded = None
            self._enqueue()
            self._work.synchronize()
            try:
                self._work.record(self._enqueue)
            except NatdeployError as error:
                raise self._not_recordable(str(error)) from error
            for name in self._outputs:
                self._work.spoil(name)
            self._recorded = key
        self._work.replay()

    def _check_capturable(self) -> None:
        if self._by_itself and not self._context.is_stream_capturable(self._work.stream):
            raise self._not_recordable(f"{self._backend.title} says that it cannot record it for these shapes")

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._work.stream):
            raise self._refused("could not run it")

    def _refused(self, what: str) -> NatdeployError:
        problems = "; ".join(problems_of_log(self._log.messages))
        return NatdeployError(f"'{self._plan}': {self._backend.title} {what}", got=problems or None)

    def _not_recordable(self, why: str) -> NatdeployError:
        return NatdeployError(
            f"'{self._plan}' cannot be run as a CUDA graph", got=why, next_step="Leave --cuda-graph out"
        )
