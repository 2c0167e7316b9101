"""``pip install .`` into clean environments: with native parts, without, and with what is missing said."""

import json
import re
import shutil
import sys

import pytest
from plugins.trt_build import ARCHITECTURE, CUDA_TOOLKIT, attempt, cuda_root, run, tensorrt_headers
from side_environments import ROOT, uv

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")]

ABSENT = {"CUDACXX": "/absent/nvcc", "TENSORRT_ROOT": "/absent/tensorrt"}
NO_NVCC = "/absent/nvcc does not run. Name a working CUDA compiler"
NO_HEADERS = "TENSORRT_ROOT is /absent/tensorrt, but neither it nor its folder include holds NvInferRuntime.h."


class Installation:
    """An environment with natdeploy, and with its dependencies only where asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.python = folder / "bin" / "python"
        run(*uv(), "venv", "--quiet", "--python", sys.executable, folder)

    def install(self, *options, **environment):
        command = [*uv(), "pip", "install", "--refresh-package", "natdeploy", "--python", self.python, *options]
        return attempt(*command, **environment)

    def finding(self):
        """Give the doctor's finding on the plugin library."""
        findings = json.loads(run(self.python, "-I", "-m", "natdeploy.environment"))["findings"]
        (found,) = (f for f in findings if f["subject"] == "TensorRT plugin")
        return found

    @property
    def tag(self):
        """What the wheel was for."""
        (wheel,) = self.folder.glob("lib/python*/site-packages/natdeploy-*/WHEEL")
        return wheel.read_text().strip().rpartition("Tag: ")[2]

    @property
    def native_files(self):
        return sorted(path.name for path in self.folder.glob("lib/python*/site-packages/natdeploy/lib/*"))


@pytest.fixture
def installation(tmp_path):
    return Installation(tmp_path / "environment")


def _assert_done(done):
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_machine_without_cmake_gets_all_that_is_python(installation, tmp_path):
    """By pip itself, and with the dependencies."""
    run(sys.executable, "-m", "venv", "--clear", installation.folder)
    _assert_done(attempt(installation.python, "-m", "pip", "install", "--quiet", ROOT, PATH=str(tmp_path)))
    assert (installation.tag, installation.native_files) == ("py3-none-any", [])
    text = run(installation.folder / "bin" / "natdeploy", "doctor")
    assert "the TensorRT plugin library is not installed" in text


def test_auto_remembers_what_it_left_out(installation):
    _assert_done(installation.install("--no-deps", ROOT, **ABSENT))
    assert installation.native_files == ["left_out.txt"]
    assert installation.tag.startswith("py3-none-linux")
    found = installation.finding()
    assert found["state"] == "missing"
    assert "left out at installation (/absent/nvcc does not run; TENSORRT_ROOT is /absent/tensorrt" in found["detail"]
    assert found["advice"].startswith("Name a working CUDA compiler with")
    assert "Name the root folder of a TensorRT SDK, 10.3 or newer." in found["advice"]


def test_required_fails_with_all_that_is_missing(installation):
    done = installation.install("--no-deps", ROOT, NATDEPLOY_PLUGINS="required", **ABSENT)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert NO_NVCC in said
    assert NO_HEADERS in said


def test_off_builds_nothing(installation):
    _assert_done(installation.install("--no-deps", ROOT, NATDEPLOY_PLUGINS="off", **ABSENT))
    assert (installation.tag, installation.native_files) == ("py3-none-any", [])


def test_a_misspelled_wish_is_refused(installation):
    done = installation.install("--no-deps", ROOT, NATDEPLOY_PLUGINS="on")
    assert done.returncode != 0
    assert "NATDEPLOY_PLUGINS is on: it must be required, auto or off." in " ".join(done.stderr.split())


def test_an_editable_installation_builds_on_request_only(installation):
    _assert_done(installation.install("--no-deps", "--editable", ROOT, **ABSENT))
    assert installation.native_files == []
    _assert_done(installation.install("--no-deps", "--editable", ROOT, NATDEPLOY_PLUGINS="auto", **ABSENT))
    assert installation.native_files == ["left_out.txt"]
    assert "left out at installation" in installation.finding()["detail"]


def test_one_compiler_is_named_everywhere():
    """The extra, what pip brings for a build, and what these tests compile with."""
    named = re.findall(r'cuda-toolkit[^"]*', (ROOT / "pyproject.toml").read_text())
    assert named == [CUDA_TOOLKIT] * 2


def test_required_builds_the_library_into_the_package(installation):
    environment = {
        "NATDEPLOY_PLUGINS": "required",
        "NATDEPLOY_CUDA": "package",
        "NATDEPLOY_CUDA_ARCHITECTURES": ARCHITECTURE,
        "TENSORRT_ROOT": str(tensorrt_headers()),
    }
    _assert_done(installation.install("--no-deps", ROOT, **environment))
    assert installation.native_files == ["libnatdeploy_trt.so"]
    found = installation.finding()
    assert (found["state"], found["advice"]) == ("ok", "")
    assert str(installation.folder) in found["detail"]
    assert found["detail"].endswith(f"for {ARCHITECTURE}")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("Cuda compilation tools, release 11.8, V11.8.89", "is CUDA 11.8 where 12.4 or newer is needed"),
        ("Cuda compilation tools, release 12.4, V12.4.99", "compiles nothing (fatal: no g++ that I know)"),
    ],
)
def test_a_compiler_that_cannot_be_used_is_left_out_with_a_reason(tmp_path, version, reason):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit\necho "fatal: no g++ that I know" >&2\nexit 1\n'
    )
    nvcc.chmod(0o755)
    run("cmake", "-S", ROOT / "plugins", "-B", tmp_path / "build", "-DNATDEPLOY_PLUGINS=auto", CUDACXX=str(nvcc))
    assert f"{nvcc} {reason}" in (tmp_path / "build" / "left_out.txt").read_text()


def test_headers_of_tensorrt_8_are_left_out_with_a_reason(tmp_path):
    (tmp_path / "NvInferRuntime.h").write_text("class IPluginV2DynamicExt;\n")
    nvcc = str(cuda_root() / "bin" / "nvcc")
    options = ("-DNATDEPLOY_PLUGINS=auto", f"-DTENSORRT_ROOT={tmp_path}")
    run("cmake", "-S", ROOT / "plugins", "-B", tmp_path / "build", *options, CUDACXX=nvcc)
    assert f"headers in {tmp_path} are older than 10" in (tmp_path / "build" / "left_out.txt").read_text()
