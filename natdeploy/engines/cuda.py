"""The GPU through NVIDIA's ``cuda-bindings``, every return code looked at: memory, one stream, one recorded graph."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from natdeploy.environment import is_installed
from natdeploy.errors import MissingDependencyError, NatdeployError

if TYPE_CHECKING:  # the doctor works without numpy
    import numpy.typing as npt

MODULE = "cuda.bindings"
PACKAGE = "cuda-bindings"

# cudaError_t of driver_types.h
_OUT_OF_MEMORY, _INSUFFICIENT_DRIVER, _NO_DEVICE = 2, 35, 100
_NAN_BYTES = 0xFF  # a float of these bytes is NaN, in every precision

Array: TypeAlias = "npt.NDArray[Any]"


class CudaRuntime:
    """The functions of the CUDA runtime, which raise where the originals return a status.

    Args:
        extra: The extra of natdeploy that brings the package.

    Raises:
        NatdeployError: If the package is not installed, or finds no driver and GPU that it can use.
    """

    def __init__(self, extra: str) -> None:
        if not is_installed(MODULE):
            raise MissingDependencyError(PACKAGE, "running an engine", extra)
        try:
            self.api: Any = importlib.import_module(f"{MODULE}.runtime")
        except (ImportError, OSError) as error:
            raise NatdeployError(
                f"{PACKAGE} is installed, but cannot be loaded",
                got=str(error),
                next_step=f"Install it again with: pip install --force-reinstall {PACKAGE}",
            ) from error
        self.call("cudaGetDeviceCount")
        self.call("cudaFree", 0)  # makes CUDA start, with an error that says why it cannot

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function by its name in CUDA's headers.

        Returns:
            What it gives besides the status: nothing, a value, or several.

        Raises:
            NatdeployError: If the status is an error.
        """
        status, *results = getattr(self.api, function)(*arguments)
        if int(status) != 0:
            raise self._error(function, status)
        return results[0] if len(results) == 1 else tuple(results) or None

    def versions(self) -> tuple[str, str]:
        """Give the CUDA version of the package, and the newest one that the driver runs."""
        return tuple(_dotted(self.call(f"cuda{side}GetVersion")) for side in ("Runtime", "Driver"))  # type: ignore[return-value]

    def _error(self, function: str, status: Any) -> NatdeployError:
        if int(status) == _OUT_OF_MEMORY:
            return NatdeployError(
                "the GPU is out of memory",
                got=self._memory(),
                next_step="End other programs on the GPU, or use a smaller batch or image size",
            )
        if int(status) == _INSUFFICIENT_DRIVER:
            runtime, driver = self.versions()
            found = f"a driver for CUDA {driver}" if driver != "0.0" else "no NVIDIA driver"
            return NatdeployError(
                "the NVIDIA driver is too old, or missing",
                got=found,
                needed=f"one for CUDA {runtime.partition('.')[0]} or newer, as {PACKAGE} is for CUDA {runtime}",
                next_step=f"Update the driver, or install a {PACKAGE} and a TensorRT for its CUDA version",
            )
        if int(status) == _NO_DEVICE:
            return NatdeployError("CUDA sees no GPU", next_step="`natdeploy doctor` says what is there")
        words = self.api.cudaGetErrorString(status)[1]
        return NatdeployError(
            f"CUDA's {function} failed", got=f"{status.name}: {words.decode() if isinstance(words, bytes) else words}"
        )

    def _memory(self) -> str | None:
        status, *sizes = self.api.cudaMemGetInfo()
        if int(status) != 0:
            return None
        free, total = (f"{size / 2**20:.0f} MiB" for size in sizes)
        return f"{free} of {total} are free"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


class DeviceWork:
    """What one engine holds on the GPU: a stream, a buffer per tensor, and the graph that was recorded last.

    Buffers are kept from call to call and only grow. ``close`` gives everything back, and may be called again.

    Args:
        cuda: The runtime.

    Attributes:
        stream: Handle of the stream on which everything happens.
    """

    def __init__(self, cuda: CudaRuntime) -> None:
        self._cuda = cuda
        self._buffers: dict[str, tuple[int, int]] = {}  # address and bytes
        self._graph: Any = None
        # Does not wait for the default stream, where others of the process may work.
        self._stream: Any = cuda.call("cudaStreamCreateWithFlags", cuda.api.cudaStreamNonBlocking)
        self.stream = int(self._stream)

    def reserve(self, name: str, size: int) -> int:
        """Give the address of a buffer of at least ``size`` bytes; a smaller one of that name goes first."""
        address, capacity = self._buffers.get(name, (0, -1))
        if size <= capacity:
            return address
        if self._buffers.pop(name, None) is not None:
            self._cuda.call("cudaFree", address)
        address = int(self._cuda.call("cudaMalloc", max(size, 1)))
        self._buffers[name] = address, size
        return address

    def upload(self, name: str, array: Array) -> None:
        """Copy a contiguous array into the buffer of that name, on the stream."""
        kind = self._cuda.api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self._buffers[name][0], array.ctypes.data, array.nbytes, kind)

    def download(self, name: str, array: Array) -> None:
        """Copy a buffer into a contiguous array, which holds it after ``synchronize``."""
        kind = self._cuda.api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(array.ctypes.data, self._buffers[name][0], array.nbytes, kind)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        if size:
            self._cuda.call("cudaMemcpyAsync", target, source, size, kind, self._stream)

    def spoil(self, name: str) -> None:
        """Overwrite a buffer, with NaN where it holds floats."""
        address, size = self._buffers[name]
        self._cuda.call("cudaMemsetAsync", address, _NAN_BYTES, size, self._stream)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        self._cuda.call("cudaStreamSynchronize", self._stream)

    def record(self, work: Callable[[], None]) -> None:
        """Record what ``work`` puts on the stream, instead of doing it.

        Raises:
            NatdeployError: If it cannot be recorded; the stream is as before then.
        """
        self._drop_graph()
        mode = self._cuda.api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda.call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        except BaseException:
            _, graph = self._cuda.api.cudaStreamEndCapture(self._stream)  # a null graph where recording broke off
            if graph is not None and int(graph) != 0:
                self._cuda.api.cudaGraphDestroy(graph)
            raise
        graph = self._cuda.call("cudaStreamEndCapture", self._stream)
        try:
            self._graph = self._cuda.call("cudaGraphInstantiate", graph, 0)
        finally:
            self._cuda.call("cudaGraphDestroy", graph)

    def replay(self) -> None:
        """Put what was recorded on the stream."""
        self._cuda.call("cudaGraphLaunch", self._graph, self._stream)

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self._cuda.call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Wait for the stream, and give back everything; what CUDA cannot give back any more is left to it."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        with contextlib.suppress(NatdeployError):
            self._cuda.call("cudaStreamSynchronize", stream)
        with contextlib.suppress(NatdeployError):
            self._drop_graph()
        while self._buffers:
            _, (address, _) = self._buffers.popitem()
            with contextlib.suppress(NatdeployError):
                self._cuda.call("cudaFree", address)
        with contextlib.suppress(NatdeployError):
            self._cuda.call("cudaStreamDestroy", stream)
