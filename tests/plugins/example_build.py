"""Building what plugins/examples holds: the flags, and the headers that no package of this environment brings."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path

import pytest
from plugins.trt_build import BUILD, PLUGINS, ROOT, attempt, built, filled_once, run

EXAMPLES = PLUGINS / "examples"
HELPERS = ROOT / "tests" / "cpp" / "examples"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wpedantic", "-Werror")
FLAGS = ("-std=c++17", "-ffp-contract=off", *WARNINGS)
SANITIZED = ("-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# nlohmann/json 3.6.1: the oldest that the examples are tested with; the crate brings it among the sources of jsonnet.
_JSON_CRATE = ("jsonnet-sys", "0.17.0", "02347cbdf34234f30f0d92f0f8f678a15883bd5e1e4b3def4ed4a14f691d9add")
_JSON_IN_CRATE = Path("jsonnet/third_party/json/json.hpp")


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


@cache
def read_images(sanitized: bool, png: bool) -> Path:
    """Build tests/cpp/examples/read_images.cpp with the example's reading and preprocessing."""

    def build(directory: Path) -> None:
        include = json_include()
        flags = [*FLAGS, *(SANITIZED if sanitized else ("-O2",)), "-I", EXAMPLES]
        flags += ["-isystem", include] if include is not None else []
        flags += ["-DNATDEPLOY_EXAMPLES_PNG"] if png else []
        sources = [EXAMPLES / f"{name}.cpp" for name in ("preprocessing", "images", "png_images", "metadata")]
        libraries = ["-lpng"] if png else []
        run("g++", *flags, HELPERS / "read_images.cpp", *sources, "-o", directory / "read_images", *libraries)

    name = f"{'asan-' if sanitized else ''}read-{'png' if png else 'pnm'}"
    return built(name, (EXAMPLES, HELPERS, Path(__file__)), build) / "read_images"
