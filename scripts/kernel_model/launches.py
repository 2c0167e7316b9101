"""What is launched for a use of the operator, and which instructions run: from the kernels under the emulation."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kernel_model.workloads import Workload

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
HERE = Path(__file__).resolve().parent
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel (its mangled name); the counts are instructions of whole warps, for the whole batch."""

    tactic: int
    kernel: str
    grid: int
    threads: int
    shared_bytes: int
    products: float
    matrices: float
    copies: float
    exponentials: float
    shuffles: float
    barriers: float
    copied_bytes: float

    @property
    def warps(self) -> int:
        """Warps of the whole grid."""
        return self.grid * -(-self.threads // 32)


_COUNTS = ("products", "matrices", "copies", "exponentials", "shuffles", "barriers")


def launch_from_json(line: str, batch: int) -> Launch:
    """Read a line of record_launches: scales its counts, by threads and for some images, to warps and the batch."""
    record = json.loads(line)
    scale = batch / record.pop("images")
    for name in _COUNTS:
        record[name] *= scale / 32
    record["copied_bytes"] *= scale
    return Launch(**record)


def build_recorder(cuda_include: Path, directory: Path) -> Path:
    """Compile the kernels for this CPU with their launches recorded (7 s); gives the program."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = [*sorted((PLUGINS / "op").glob("*.cu")), *sorted((PLUGINS / "op").glob("*.cpp"))]
    includes = ["-I", str(PLUGINS), "-isystem", str(cuda_include), "-include", str(HERE / "recorder.h")]
    flags = ["-std=c++20", "-O1", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    compiler = os.environ.get("CXX", "g++")
    objects = []
    for source in [*sources, HERE / "record_launches.cpp"]:
        objects.append(str(directory / f"{source.name}.o"))
        subprocess.run([compiler, *flags, *includes, "-x", "c++", "-c", str(source), "-o", objects[-1]], check=True)
    program = directory / "record_launches"
    subprocess.run([compiler, "-rdynamic", *objects, "-ldl", "-o", str(program)], check=True)
    return program


def recorded_launches(
    program: Path, workload: Workload, multiprocessors: int, compute_capability: int, images: int = 1
) -> list[Launch]:
    """Give one launch per tactic that can compute the workload on such a GPU.

    Args:
        program: From build_recorder.
        workload: What is computed.
        multiprocessors: Of the GPU; grids depend on it.
        compute_capability: Of the GPU.
        images: How many are executed for the counts.
    """
    w = workload
    numbers = [DTYPES[w.dtype], w.batch, w.height, w.width, w.heads, w.head_dim, w.kernel_size, w.dilation]
    command = [str(program), *map(str, [*numbers, multiprocessors, compute_capability, min(images, w.batch)])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [launch_from_json(line, w.batch) for line in done.stdout.splitlines()]
