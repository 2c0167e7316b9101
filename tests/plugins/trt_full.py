"""TensorRT 10.15.1 itself, from the Maven artifact that carries its libraries: 534 MB, 14 s."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from functools import cache
from pathlib import Path

import pytest
from plugins.trt_build import BUILD, filled_once, run

VERSION = "10.15.1.29"  # of the Python bindings that fit
ARTIFACT = "org.bytedeco:tensorrt:10.15-1.5.13:jar:linux-x86_64-redist"
SHA256 = "8543a6bda95c5d42141d409e1b74024b444e96334a3815d53997cc4ec3cfce83"
LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")


@cache
def full_tensorrt() -> Path:
    """The folder of its libraries; skips where Maven is not installed."""
    if shutil.which("mvn") is None:
        pytest.skip("TensorRT 10.15.1: mvn, which brings its libraries, is not installed")
    return filled_once(BUILD / "tensorrt-10.15.1", _fill)


def _fill(directory: Path) -> None:
    run("mvn", "-q", "-B", "dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={directory}")
    (jar,) = directory.glob("*.jar")
    with jar.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 22):
            digest.update(block)
    assert digest.hexdigest() == SHA256
    with zipfile.ZipFile(jar) as archive:
        for name in LIBRARIES:
            packed = archive.open(f"org/bytedeco/tensorrt/linux-x86_64/{name}")
            with packed, (directory / name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 22)
    jar.unlink()
