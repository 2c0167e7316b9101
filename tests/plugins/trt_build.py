"""The plugin library as the tests use it: built once for one architecture, kept in build/ by a hash of its sources."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from side_environments import python_with

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
BUILD = ROOT / "build"
CUDA_TOOLKIT = "cuda-toolkit[nvcc,cccl,cudart]==13.0.3"
ARCHITECTURE = "90-real"  # one is enough without a GPU, and compiles in seconds
HEADERS = BUILD / "tensorrt-headers"
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")  # `#pragma unroll` is for nvcc

# A process that reads no packages but those of its own environment.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NATDEPLOY"))}


def run(*command: object, time_limit: float = 580, **extra: str) -> str:
    """Run a program that must succeed, with ``extra`` in its environment; gives its stdout."""
    done = attempt(*command, time_limit=time_limit, **extra)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def attempt(*command: object, time_limit: float = 580, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a program that may fail."""
    words = [str(word) for word in command]
    environment = {**ENVIRONMENT, **extra}
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=time_limit, env=environment)


@cache
def tensorrt_headers() -> Path:
    """Headers of a TensorRT SDK where one is named, else those that scripts/fetch_tensorrt_headers brings."""
    if named := os.environ.get("TENSORRT_ROOT"):
        return next(Path(named).rglob("NvInferRuntime.h")).parent
    if not HEADERS.is_dir() and shutil.which("cargo") is None:
        pytest.skip("TensorRT's headers: neither TENSORRT_ROOT nor cargo (scripts/fetch_tensorrt_headers) is there")
    run(ROOT / "scripts" / "fetch_tensorrt_headers")
    return HEADERS


@cache
def cuda_root() -> Path:
    """Directory with CUDA's ``include``, ``lib`` and ``bin``, from the Python package."""
    python = python_with(CUDA_TOOLKIT)
    return next((python.parents[1] / "lib").glob("python*/site-packages/nvidia/cu13"))


@cache
def plugin_library() -> Path:
    """libnatdeploy_trt.so, compiled by nvcc."""

    def build(directory: Path) -> None:
        if shutil.which("cmake") is None:
            pytest.skip("cmake is not installed")
        python = python_with(CUDA_TOOLKIT)
        options = (f"-DNATDEPLOY_PYTHON={python}", f"-DCMAKE_CUDA_ARCHITECTURES={ARCHITECTURE}")
        headers = f"-DTENSORRT_ROOT={tensorrt_headers()}"
        run("cmake", "-S", PLUGINS, "-B", directory, *options, headers, "-DNATDEPLOY_WERROR=ON")
        run("cmake", "--build", directory, "--target", "natdeploy_trt", "--parallel", "2")

    return (
        built("trt-library", (PLUGINS / "op", PLUGINS / "tensorrt", PLUGINS / "cmake"), build) / "libnatdeploy_trt.so"
    )


def built(name: str, sources: tuple[Path, ...], build) -> Path:
    """Give the directory that ``build`` filled from ``sources`` (files and folders), now or in an earlier run."""
    files = [PLUGINS / "CMakeLists.txt", Path(__file__)]
    for source in sources:
        files += sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return filled_once(BUILD / f"{name}-{digest.hexdigest()[:12]}", build, replaces=f"{name}-*")


def filled_once(directory: Path, build, replaces: str | None = None) -> Path:
    """Let ``build`` fill a directory, unless an earlier run did; what matches ``replaces`` beside it goes first."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f"{directory.name.rpartition('-')[0]}.lock").open("w") as lock:  # tests run two processes at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = directory / "done"
        if not done.exists():
            for old in BUILD.glob(replaces or directory.name):
                shutil.rmtree(old)
            directory.mkdir()
            build(directory)
            done.touch()
    return directory
