"""The CMake presets for aarch64, on another machine: nvcc, a cross compiler, and CUDA's libraries for aarch64.

The Python package ziglang is a cross compiler that every machine can have. With it every file is compiled, host and GPU
code, but nothing is linked: there is no libstdc++ for aarch64. The system's g++-aarch64-linux-gnu builds it all, and
qemu-user runs it; that test skips where one of them is absent.
"""

import json
import os
import re
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from plugins.trt_build import (
    BUILD,
    CUDA_TOOLKIT,
    ENVIRONMENT,
    PLUGINS,
    ROOT,
    attempt,
    cuda_root,
    filled_once,
    run,
    tensorrt_headers,
)
from side_environments import python_with, uv

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")]

AARCH64 = 183  # EM_AARCH64 in the ELF header
ORIN = "87-real"
ZIG = "ziglang==0.14.1"  # clang 19. CUDA 13.0 takes clang up to 20, and not the rsqrt of the C library that 0.15 brings
SYSTEM_COMPILER = "aarch64-linux-gnu-g++"


def _machine(path: Path) -> int:
    header = path.read_bytes()[:20]
    assert header[:4] == b"\x7fELF", path
    return struct.unpack_from("<H", header, 18)[0]


@pytest.fixture(scope="module")
def cuda_for_aarch64() -> Path:
    """Folder whose lib holds libcudart_static.a for aarch64, of the version of the compiler: 3 MB."""
    (installed,) = cuda_root().parents[1].glob("nvidia_cuda_runtime-*.dist-info")
    version = installed.name.removesuffix(".dist-info").partition("-")[2]

    def unpack(directory: Path) -> None:
        options = ("--quiet", "--no-deps", "--python-platform", "aarch64-manylinux_2_28", "--target", directory)
        run(*uv(), "pip", "install", *options, f"nvidia-cuda-runtime=={version}")

    return filled_once(BUILD / f"cudart_aarch64-{version}", unpack) / "nvidia" / "cu13"


@pytest.fixture(scope="module")
def zig(tmp_path_factory) -> Path:
    """A C++ compiler for aarch64 as one program, with this machine's libstdc++ headers: nvcc does not take libc++'s."""
    done = subprocess.run(["g++", "-xc++", "-E", "-v", os.devnull], capture_output=True, text=True, check=True)
    searched = re.findall(r"^ (\S*c\+\+\S*)$", done.stderr, re.MULTILINE)
    assert searched
    folders = " ".join(f"-I{folder}" for folder in searched)
    program = tmp_path_factory.mktemp("zig") / "zig-c++"
    program.write_text(
        f"#!/bin/sh\nexport ZIG_GLOBAL_CACHE_DIR='{BUILD}/zig-cache' ZIG_LOCAL_CACHE_DIR='{BUILD}/zig-cache'\n"
        f"exec '{python_with(ZIG)}' -m ziglang c++ -target aarch64-linux-gnu -nostdinc++ -nostdlib++ {folders} "
        '-Wno-unused-command-line-argument "$@"\n'
    )
    program.chmod(0o755)
    return program


def _configure(preset, folder, target, **environment):
    options = (f"-DNATDEPLOY_PYTHON={python_with(CUDA_TOOLKIT)}", f"-DTENSORRT_ROOT={tensorrt_headers()}")
    orin = (f"-DNATDEPLOY_CUDA_ARCHITECTURES={ORIN}", "-DNATDEPLOY_WERROR=ON")
    where = ("-S", PLUGINS, "-B", folder, *([f"-DNATDEPLOY_CUDA_TARGET={target}"] if target else []))
    return attempt("cmake", "--preset", preset, *where, *options, *orin, **environment)


def test_every_file_compiles_for_aarch64(tmp_path, zig, cuda_for_aarch64):
    done = _configure("aarch64-cuda13", tmp_path, cuda_for_aarch64, NATDEPLOY_AARCH64_CXX=str(zig))
    assert done.returncode == 0, done.stderr[-4000:]
    commands = json.loads((tmp_path / "compile_commands.json").read_text())

    def compiled(entry) -> Path:
        words = {"shell": True, "cwd": entry["directory"], "env": ENVIRONMENT}
        done = subprocess.run(entry["command"], capture_output=True, text=True, check=False, **words)
        assert done.returncode == 0, f"{entry['file']}\n{done.stderr[-4000:]}"
        return Path(entry["directory"]) / re.search(r"-o (\S+)", entry["command"])[1]

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, commands))
    sources = {p.name for pattern in ("op/*.c*", "tensorrt/*.cpp", "c_api/*.cu") for p in PLUGINS.glob(pattern)}
    assert {path.name.removesuffix(".o") for path in objects} == {s for s in sources if not s.endswith(".cuh")}
    assert {_machine(path) for path in objects} == {AARCH64}
    assert b"sm_87" in next(path for path in objects if path.name == "launch_generic.cu.o").read_bytes()


@pytest.mark.skipif(shutil.which(SYSTEM_COMPILER) is None, reason=f"{SYSTEM_COMPILER} is not installed")
def test_the_system_cross_compiler_builds_libraries_that_run(tmp_path, cuda_for_aarch64):
    done = _configure("aarch64-cuda13", tmp_path / "build", cuda_for_aarch64)
    assert done.returncode == 0, done.stderr[-4000:]
    run("cmake", "--build", tmp_path / "build", "--parallel", "2")
    run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "p")
    libraries = [tmp_path / "p" / "lib" / f"libnatdeploy_{name}.so" for name in ("op", "trt")]
    assert {_machine(path) for path in libraries} == {AARCH64}
    program, c_compiler = tmp_path / "use_op", SYSTEM_COMPILER.replace("g++", "gcc")
    source = ROOT / "tests" / "cpp" / "consumer" / "use_op.c"
    run(c_compiler, "-I", tmp_path / "p" / "include", source, libraries[0], "-o", program)
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("built, not run: qemu-aarch64 is not installed")
    system = ("-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={libraries[0].parent}")
    said = run("qemu-aarch64", *system, program)
    assert "launch: no GPU" in said and "failed" not in said


def test_the_gpus_of_aarch64_machines_are_the_default(tmp_path, zig, cuda_for_aarch64):
    python, headers = f"-DNATDEPLOY_PYTHON={python_with(CUDA_TOOLKIT)}", f"-DTENSORRT_ROOT={tensorrt_headers()}"
    where = ("-S", PLUGINS, "-B", tmp_path, f"-DNATDEPLOY_CUDA_TARGET={cuda_for_aarch64}")
    said = run("cmake", "--preset", "aarch64-cuda13", *where, python, headers, NATDEPLOY_AARCH64_CXX=str(zig))
    assert "for 87-real;90-real;100-real;110-real;120\n" in said


@pytest.mark.parametrize(
    ("preset", "target", "folder"),
    [
        ("jetson-cuda12", None, "targets/aarch64-linux"),
        ("aarch64-cuda13", None, "targets/sbsa-linux"),
        ("aarch64-cuda13", "/absent/cuda", "/absent/cuda"),
    ],
)
def test_absent_libraries_are_named_with_what_to_install(tmp_path, zig, preset, target, folder):
    done = _configure(preset, tmp_path, target, NATDEPLOY_AARCH64_CXX=str(zig))
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert f"{folder}/lib/libcudart_static.a" in said.replace(" ", "")
    assert "cuda-cross-sbsa or cuda-cross-aarch64" in said


def test_an_absent_compiler_is_named(tmp_path):
    done = _configure("aarch64-cuda13", tmp_path, None, NATDEPLOY_AARCH64_CXX="/absent/g++")
    assert done.returncode != 0
    assert "/absent/g++" in done.stderr


def test_the_preset_for_this_machine_is_the_ordinary_build(tmp_path):
    presets = json.loads((PLUGINS / "CMakePresets.json").read_text())["configurePresets"]
    assert presets[0]["binaryDir"] == "${sourceDir}/../build/plugins"
    done = _configure("release", tmp_path, None)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"for {ORIN}\n" in done.stdout
