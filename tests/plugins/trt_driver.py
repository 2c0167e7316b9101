"""tests/cpp/plugin as a program that drives a plugin library, and the library with its kernels on this CPU."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from plugins.trt_build import PLUGINS, ROOT, WARNINGS, built, cuda_root, run, tensorrt_headers

from natdeploy import __version__

DRIVER = ROOT / "tests" / "cpp" / "plugin"
OPTIMIZED = ("-O1",)
# Without vptr: it would object to the layouts of TensorRT's classes, which the library knows without their headers.
SANITIZED = (
    *("-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"),
    *("-fno-sanitize=vptr", "-fno-sanitize-recover=all"),
)


@cache
def driver(flags: tuple[str, ...]) -> Path:
    """Build the program that drives a library; ``flags`` as for ``sanitized_library`` where it is to load that one."""

    def build(directory: Path) -> None:
        sources = [p for p in sorted(DRIVER.glob("*.cpp")) if p.name != "fake_cuda.cpp"]
        objects = _compiled(
            [*sources, PLUGINS / "op" / "scalar.cpp", PLUGINS / "op" / "parameters.cpp"], directory, flags
        )
        run(*_compiler(), *flags, "-rdynamic", *objects, "-o", directory / "drive_plugin", "-ldl", "-pthread")

    name = "trt-asan-driver" if flags == SANITIZED else "trt-driver"
    return built(name, (PLUGINS / "op", DRIVER, Path(__file__)), build) / "drive_plugin"


@cache
def sanitized_library() -> Path:
    """The plugin library by g++, with AddressSanitizer and UBSan: plugins/emulation runs the kernels on the CPU."""

    def build(directory: Path) -> None:
        sources = [p for pattern in ("op/*.cpp", "op/*.cu", "tensorrt/*.cpp") for p in PLUGINS.glob(pattern)]
        objects = _compiled(
            [*sorted(sources), DRIVER / "fake_cuda.cpp"], directory, (*SANITIZED, "-fPIC", "-fvisibility=hidden")
        )
        exports = f"-Wl,--version-script={PLUGINS / 'tensorrt' / 'exports.map'}"
        run(*_compiler(), *SANITIZED, "-shared", exports, *objects, "-o", directory / "libnatdeploy_trt.so", "-ldl")

    sources = (PLUGINS / "op", PLUGINS / "tensorrt", PLUGINS / "emulation", DRIVER / "fake_cuda.cpp", Path(__file__))
    return built("trt-asan-library", sources, build) / "libnatdeploy_trt.so"


def _compiler() -> list[str]:
    return [os.environ.get("CXX", "g++"), "-std=c++20", "-fno-strict-aliasing"]


def _compiled(sources: list[Path], directory: Path, flags: tuple[str, ...]) -> list[Path]:
    """Compile two files at a time; gives the object files."""
    includes = ("-I", PLUGINS, "-isystem", tensorrt_headers(), "-isystem", cuda_root() / "include")
    definitions = (f'-DNATDEPLOY_VERSION="{__version__}"', '-DNATDEPLOY_CUDA_ARCHITECTURES=""')
    objects = [directory / f"{source.name}.o" for source in sources]

    def compile_one(source: Path, target: Path) -> None:
        run(*_compiler(), *WARNINGS, *flags, *includes, *definitions, "-x", "c++", "-c", source, "-o", target)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, sources, objects))
    return objects
