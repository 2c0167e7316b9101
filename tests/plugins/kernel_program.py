"""The kernels as a program for this CPU: tests/cpp/run_kernel.cpp with the sources of plugins/op, built by g++."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from ops.cases import Array, Case, Tensors
from side_environments import python_with

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
MAIN = ROOT / "tests" / "cpp" / "run_kernel.cpp"
CUDA_TOOLKIT = "cuda-toolkit[nvcc,cccl,cudart]==13.0.3"
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")  # `#pragma unroll` is for nvcc
SANITIZED = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
RACES = ("-O1", "-g1", "-fsanitize=thread")  # barriers are all that orders the threads of a block (sanitizers.h)


@cache
def cuda_toolkit() -> Path:
    """Directory with CUDA's ``include`` and ``bin/nvcc``, from the Python package."""
    python = python_with(CUDA_TOOLKIT)
    return next((python.parents[1] / "lib").glob("python*/site-packages/nvidia/cu13"))


class KernelFault(Exception):
    """The program ended with an error: its message holds what the emulation or a sanitizer wrote."""


@dataclass(frozen=True)
class KernelProgram:
    """A built program; every call runs one kernel in a process of its own."""

    executable: Path

    def run(self, case: Case, dtype: str, tactic: str, layout: str = "packed", seed: int = 0) -> Array:
        """Run a case; gives ``[B, H, W, heads, head_dim]`` as float32."""
        tensors = case.tensors_in(dtype)
        return self.run_tensors(case, tensors, dtype, tactic, layout, seed)

    def run_tensors(
        self, case: Case, tensors: Tensors, dtype: str, tactic: str, layout: str = "packed", seed: int = 0
    ) -> Array:
        """Run a case with other tensors than its own."""
        command = [str(self.executable), f"tactic={tactic}", f"seed={seed}", f"layout={layout}", *_arguments(case)]
        done = subprocess.run(
            [*command, f"dtype={dtype}"],
            input=_stdin(tensors, dtype, layout),
            capture_output=True,
            check=False,
            timeout=300,
        )
        if done.returncode != 0:
            raise KernelFault(f"{shlex.join(command)}\n{done.stderr.decode(errors='replace')[-4000:]}")
        shape = (case.batch, *case.extents, case.heads, case.head_dim)
        output = _from_bytes(done.stdout, dtype)
        if layout == "heads_first":
            height, width = case.extents
            in_memory = output.reshape(case.batch, case.heads, height, width, case.head_dim)
            return np.moveaxis(in_memory, 1, 3)
        return output.reshape(shape)


def sources(plugins: Path = PLUGINS) -> list[Path]:
    """What the program is made of."""
    return [*sorted((plugins / "op").glob("*.cu")), *sorted((plugins / "op").glob("*.cpp")), MAIN]


def compiled(paths: Sequence[Path], directory: Path, flags: Sequence[str], plugins: Path = PLUGINS) -> list[Path]:
    """Compile for the CPU, two files at a time; gives the object files."""
    includes = ("-I", str(plugins), "-isystem", str(cuda_toolkit() / "include"))
    command = [*_compiler(), *WARNINGS, *flags, *includes, "-x", "c++", "-c"]
    objects = [directory / f"{path.name}.o" for path in paths]

    def compile_one(path: Path, target: Path) -> None:
        done = subprocess.run([*command, str(path), "-o", str(target)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{path}\n{done.stderr}"

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, paths, objects))
    return objects


def linked(objects: Sequence[Path], directory: Path, flags: Sequence[str]) -> KernelProgram:
    """Link object files into a program."""
    executable = directory / "run_kernel"
    subprocess.run([*_compiler(), *flags, *map(str, objects), "-o", str(executable)], check=True)
    return KernelProgram(executable)


def build(directory: Path, flags: Sequence[str] = ("-O2",)) -> KernelProgram:
    """Compile and link all of it."""
    return linked(compiled(sources(), directory, flags), directory, flags)


def _compiler() -> list[str]:
    return [os.environ.get("CXX", "g++"), "-std=c++20", "-fno-strict-aliasing"]


def _arguments(case: Case) -> list[str]:
    neighborhood = case.neighborhood
    return [
        f"batch={case.batch}",
        f"map={_by_axis(case.extents)}",
        f"heads={case.heads}",
        f"head_dim={case.head_dim}",
        f"kernel_size={_by_axis(neighborhood.kernel_size)}",
        f"dilation={_by_axis(neighborhood.dilation)}",
        f"scale={neighborhood.scale!r}",
        f"rpb={int(case.has_rpb)}",
    ]


def _by_axis(values: Sequence[int]) -> str:
    return "x".join(map(str, values))


def _stdin(tensors: Tensors, dtype: str, layout: str) -> bytes:
    if layout == "packed":
        parts = [tensors.packed()]
    elif layout == "heads_first":
        parts = [np.moveaxis(x, 3, 1) for x in tensors[:3]]
    else:
        parts = list(tensors[:3])
    encoded = [_to_bytes(x, dtype) for x in parts]
    return b"".join([*encoded, b"" if tensors.rpb is None else tensors.rpb.tobytes()])


def _to_bytes(x: Array, dtype: str) -> bytes:
    if dtype == "bfloat16":  # the values are rounded already: their low halves are zero
        return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return np.ascontiguousarray(x).astype(dtype).tobytes()


def _from_bytes(data: bytes, dtype: str) -> Array:
    if dtype == "bfloat16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, dtype).astype(np.float32)
