"""plugins/examples/classify.cpp compiled and linked with real TensorRT libraries, and run as far as a machine can."""

from __future__ import annotations

import re

import pytest
from command_line import IMAGES, digits_onnx
from engines import rtx
from PIL import Image
from plugins.example_build import configured, older_tensorrt_headers
from plugins.example_world import agree, guesses_of, inferred, metadata, weights
from plugins.installed_package import installed_package
from plugins.pretended_gpu import write_plan
from plugins.trt_build import attempt, tensorrt_headers
from plugins.trt_full import VERSION, full_tensorrt

pytestmark = pytest.mark.slow

QUICKLY = {"CMAKE_BUILD_TYPE": "Debug"}
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": ""}
NO_GPU = re.compile(r"error: No NVIDIA GPU can be used here: [^.]+\.\n")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "digit.pgm"
    Image.open(IMAGES[6]).save(path)
    return path


@pytest.fixture(scope="module")
def classify_10(tmp_path_factory):
    headers = older_tensorrt_headers("TRT-Enterprise-10.16")
    library = full_tensorrt() / "libnvinfer.so.10"
    build = configured(tmp_path_factory.mktemp("trt"), **QUICKLY, TENSORRT_INCLUDE=headers, TENSORRT_LIBRARY=library)
    return build / "classify"


def assert_told(done, part):
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert part in line


def test_tensorrt_10(classify_10, image, tmp_path):
    """Against 10.16's headers, with the library of 10.15.1: everything up to the GPU."""

    def of(version):
        return lambda part: part.update(version=version, plugin=None)

    plan = write_plan(tmp_path / "model.plan", metadata(), weights(), edit=of(VERSION))
    done = attempt(classify_10, plan, image, **WITHOUT_GPU)
    assert (done.returncode, done.stdout) == (1, "")
    assert NO_GPU.fullmatch(done.stderr)
    write_plan(tmp_path / "model.plan", metadata(), weights(), edit=of("10.14.1.1"))
    assert_told(attempt(classify_10, plan, image), f"was built by TensorRT 10.14.1.1, and {VERSION} is here")


def test_a_library_of_another_major_is_refused_before_it_is_called(tmp_path, image):
    """Headers of 11.4 have another layout of the logger than the library of 10.15.1, which would crash in it."""
    library = full_tensorrt() / "libnvinfer.so.10"
    options = {"TENSORRT_INCLUDE": tensorrt_headers(), "TENSORRT_LIBRARY": library}
    build = configured(tmp_path / "build", **QUICKLY, **options)
    plan = write_plan(tmp_path / "model.plan", metadata(), weights())
    told = f"This program was compiled for TensorRT 11, and the library that it found is {VERSION}"
    assert_told(attempt(build / "classify", plan, image), told)


def test_tensorrt_for_rtx(tmp_path, image):
    """A real plan, which needs the plugin of the natdeploy that is installed.

    Where there is a GPU, it must give what the ONNX file gives.
    """
    packages = next((rtx.python().parents[1] / "lib").glob("python*/site-packages/tensorrt_rtx_libs"))
    build = configured(
        tmp_path / "build",
        **QUICKLY,
        CMAKE_PREFIX_PATH=installed_package(),
        NATDEPLOY_EXAMPLES_TENSORRT_RTX="ON",
        TENSORRT_INCLUDE=older_tensorrt_headers("TRT-RTX-1.7"),
        TENSORRT_LIBRARY=packages / "libtensorrt_rtx.so.1",
    )
    classify, plan = build / "classify", tmp_path / "digits.plan"
    built = rtx.run("build-engine", digits_onnx(), "-o", plan, "--backend", "tensorrt-rtx")
    assert built.status == 0, built.err
    assert_told(attempt(classify, plan, image, "--plugin", "gone.so"), "'gone.so' cannot be read")
    command = (classify, plan, image)
    done = attempt(*command, **WITHOUT_GPU)
    assert (done.returncode, done.stdout) == (1, "")
    assert NO_GPU.fullmatch(done.stderr)
    if not NO_GPU.fullmatch((done := attempt(*command)).stderr):
        assert (done.returncode, done.stderr) == (0, "")
        assert agree(guesses_of(done.stdout)[0], inferred(digits_onnx(), [image]))
    plan.write_bytes(plan.read_bytes()[:-1])
    assert_told(attempt(*command), "copy both from where they were built")
    plan.with_name("digits.plan.json").unlink()
    assert_told(attempt(*command), "There is no sidecar '")


def test_what_a_named_sdk_lacks_is_an_error(tmp_path):
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "NvInferRuntime.h").touch()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libnvinfer.so").touch()
    lacking = {
        "ONNX Runtime's C++ headers and library": {"ONNXRUNTIME_ROOT": tmp_path},
        "TensorRT's headers and library": {"TENSORRT_ROOT": tmp_path / "lib"},
        "CUDA's runtime (cuda_runtime_api.h, libcudart_static.a)": {"TENSORRT_ROOT": tmp_path, "CUDA_ROOT": tmp_path},
    }
    for number, (what, options) in enumerate(lacking.items()):
        with pytest.raises(AssertionError) as failed:
            configured(tmp_path / f"build-{number}", **options)
        assert f": without {what}, looked for in" in " ".join(str(failed.value).split())
