"""A pretended GPU: memory of the host, streams that work when they are waited for, and graphs that replay addresses.

It notes every misuse that a GPU would answer with a crash or with wrong numbers (``Machine.misuse``), and what was
never given back (``Machine.leaks``). It works later than a GPU might, never earlier: who does not wait gets nothing.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

Op = Callable[[], None]


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


OK = cudaError_t.cudaSuccess


class Handle:
    """A stream, a graph or an instance of one; lives until it is destroyed."""

    def __init__(self, kind: str) -> None:
        self.kind, self.alive = kind, True
        self.ops: list[Op] = []
        self.recording: list[Op] | None = None
        self.broken = False

    def __int__(self) -> int:
        return id(self)


@dataclass
class Block:
    """Device memory; what was freed is kept, so that no address comes twice."""

    buffer: ctypes.Array
    size: int
    alive: bool = True


@dataclass
class Machine:
    """The GPU and its driver.

    Args:
        capacity: Bytes of its memory.
        driver: Newest CUDA version that it runs, as CUDA writes it; 0 without a driver.
        devices: How many GPUs there are.
    """

    capacity: int = 2**30
    driver: int = 13000
    devices: int = 1
    misuse: list[str] = field(default_factory=list)
    blocks: dict[int, Block] = field(default_factory=dict)
    handles: list[Handle] = field(default_factory=list)
    allocations: int = 0
    captures: int = 0
    launches: int = 0

    def used(self) -> int:
        return sum(block.size for block in self.blocks.values() if block.alive)

    def leaks(self) -> list[str]:
        """Name what was never given back."""
        blocks = [f"{block.size} bytes" for block in self.blocks.values() if block.alive]
        return blocks + [f"a {handle.kind}" for handle in self.handles if handle.alive]

    def place(self, address: int, size: int, what: str) -> int | None:
        """Give the address if ``size`` bytes of living memory begin there."""
        for start, block in self.blocks.items():
            if start <= address < start + max(block.size, 1):
                if not block.alive:
                    self.misuse.append(f"{what}: use after free")
                elif address + size > start + block.size:
                    self.misuse.append(f"{what}: {size} bytes in a buffer of {block.size}")
                else:
                    return address
                return None
        self.misuse.append(f"{what}: {address:#x} is no address on the GPU")
        return None

    def stream(self, handle: object) -> Handle | None:
        """Find a living stream by handle or number."""
        found = [one for one in self.handles if one.kind == "stream" and one.alive and int(one) == int(handle)]
        if not found:
            self.misuse.append("no such stream")
        return found[0] if found else None

    def capturing(self) -> Handle | None:
        return next((one for one in self.handles if one.recording is not None), None)

    def put(self, stream: Handle, op: Op) -> None:
        """Queue work, or record it."""
        (stream.ops if stream.recording is None else stream.recording).append(op)

    def finish(self, stream: Handle) -> None:
        """Do what is queued."""
        while stream.ops:
            stream.ops.pop(0)()

    def unsafe(self) -> bool:
        """Whether a call that cannot be recorded came while something was being recorded; breaks that off."""
        stream = self.capturing()
        if stream is None:
            return False
        stream.broken = True
        return True


class Runtime:
    """The functions of ``cuda.bindings.runtime``, by their names there."""

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def cudaGetDeviceCount(self):
        if self.machine.driver < 13000:
            return cudaError_t.cudaErrorInsufficientDriver, None
        return (OK, self.machine.devices) if self.machine.devices else (cudaError_t.cudaErrorNoDevice, None)

    def cudaRuntimeGetVersion(self):
        return OK, 13000

    def cudaDriverGetVersion(self):
        return OK, self.machine.driver

    def cudaGetErrorString(self, error):
        return OK, f"what {error.name} means".encode()

    def cudaMemGetInfo(self):
        return OK, self.machine.capacity - self.machine.used(), self.machine.capacity

    def cudaMalloc(self, size):
        if self.machine.unsafe():
            return cudaError_t.cudaErrorStreamCaptureUnsupported, None
        if self.machine.used() + size > self.machine.capacity:
            return cudaError_t.cudaErrorMemoryAllocation, None
        buffer = (ctypes.c_ubyte * size).from_buffer_copy(b"\xff" * size)
        self.machine.blocks[ctypes.addressof(buffer)] = Block(buffer, size)
        self.machine.allocations += 1
        return OK, ctypes.addressof(buffer)

    def cudaFree(self, address):
        if address == 0:
            return (OK,)
        if self.machine.unsafe():
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        for stream in (one for one in self.machine.handles if one.kind == "stream"):
            self.machine.finish(stream)
        block = self.machine.blocks.get(address)
        if block is None or not block.alive:
            self.machine.misuse.append("double free" if block else f"free of {address:#x}")
            return (cudaError_t.cudaErrorInvalidValue,)
        block.alive = False
        return (OK,)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        found = self.machine.stream(stream)
        if found is None:
            return (cudaError_t.cudaErrorInvalidResourceHandle,)
        if self.machine.unsafe():  # host memory is pageable here, and a graph cannot hold a copy of such
            self.machine.misuse.append("capture of a pageable copy")
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        upload = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
        what = "upload" if upload else "download"
        if self.machine.place(target if upload else source, size, what) is None:
            return (cudaError_t.cudaErrorInvalidValue,)
        staged = ctypes.string_at(source, size) if upload else b""

        def copy() -> None:
            if self.machine.place(target if upload else source, size, what) is not None:
                ctypes.memmove(target, staged if upload else source, size)

        self.machine.put(found, copy)
        return (OK,)

    def cudaMemsetAsync(self, address, value, size, stream):
        found = self.machine.stream(stream)
        if found is None or self.machine.place(address, size, "memset") is None:
            return (cudaError_t.cudaErrorInvalidValue,)
        self.machine.put(found, lambda: ctypes.memset(address, value, size))
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags):
        self.machine.handles.append(Handle("stream"))
        return OK, self.machine.handles[-1]

    def cudaStreamSynchronize(self, stream):
        found = self.machine.stream(stream)
        if found is None:
            return (cudaError_t.cudaErrorInvalidResourceHandle,)
        if self.machine.unsafe():
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        self.machine.finish(found)
        return (OK,)

    def cudaStreamDestroy(self, stream):
        found = self.machine.stream(stream)
        if found is None:
            return (cudaError_t.cudaErrorInvalidResourceHandle,)
        self.machine.finish(found)
        found.alive = False
        return (OK,)

    def cudaStreamBeginCapture(self, stream, mode):
        found = self.machine.stream(stream)
        if found is None or found.recording is not None:
            self.machine.misuse.append("capture inside of a capture")
            return (cudaError_t.cudaErrorInvalidValue,)
        found.recording, found.broken = [], False
        self.machine.captures += 1
        return (OK,)

    def cudaStreamEndCapture(self, stream):
        found = self.machine.stream(stream)
        if found is None or found.recording is None:
            self.machine.misuse.append("end of a capture that never began")
            return cudaError_t.cudaErrorInvalidValue, None
        ops, found.recording = found.recording, None
        if found.broken:
            return cudaError_t.cudaErrorStreamCaptureInvalidated, None
        graph = Handle("graph")
        graph.ops = ops
        self.machine.handles.append(graph)
        return OK, graph

    def _destroy(self, handle: Handle, kind: str):
        if handle.kind != kind or not handle.alive:
            self.machine.misuse.append(f"a {handle.kind} is destroyed as {kind}, or twice")
            return (cudaError_t.cudaErrorInvalidValue,)
        handle.alive = False
        return (OK,)

    def cudaGraphInstantiate(self, graph, flags):
        if not graph.alive:
            self.machine.misuse.append("a destroyed graph is instantiated")
            return cudaError_t.cudaErrorInvalidValue, None
        instance = Handle("graph instance")
        instance.ops = list(graph.ops)
        self.machine.handles.append(instance)
        return OK, instance

    def cudaGraphDestroy(self, graph):
        return self._destroy(graph, "graph")

    def cudaGraphExecDestroy(self, instance):
        return self._destroy(instance, "graph instance")

    def cudaGraphLaunch(self, instance, stream):
        found = self.machine.stream(stream)
        if found is None or instance is None or not instance.alive:
            self.machine.misuse.append("launch of a graph that is not there")
            return (cudaError_t.cudaErrorInvalidValue,)
        self.machine.launches += 1
        for op in instance.ops:
            self.machine.put(found, op)
        return (OK,)


def runtime_module(machine: Machine) -> ModuleType:
    """Make what ``cuda.bindings.runtime`` would be on a machine."""
    module, runtime = ModuleType("cuda.bindings.runtime"), Runtime(machine)
    for name in (name for name in dir(runtime) if name.startswith("cuda")):
        setattr(module, name, getattr(runtime, name))
    return module
