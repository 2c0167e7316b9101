"""What `cmake --install` installs, and other people's projects that build against it and run."""

import json
import re
import shutil

import pytest
from plugins.installed_package import installed_package, moved_package
from plugins.trt_build import (
    ARCHITECTURE,
    CUDA_TOOLKIT,
    PLUGINS,
    ROOT,
    attempt,
    cuda_root,
    plugin_library,
    run,
    tensorrt_headers,
)
from side_environments import python_with

import natdeploy
from natdeploy.ops import spec
from natdeploy.plugin_library import manifest_from_library

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")]

VERSION = natdeploy.__version__
CONSUMER = ROOT / "tests" / "cpp" / "consumer"
OP = {
    "include/natdeploy/op.h",
    "lib/libnatdeploy_op.so",
    "lib/libnatdeploy_op.so.1",
    f"lib/libnatdeploy_op.so.1.{VERSION}",
}
PLUGIN = {"include/natdeploy/tensorrt_plugin.h", "lib/libnatdeploy_trt.so"}


def _targets(component):
    return {f"lib/cmake/natdeploy/natdeployTargets_{component}{end}.cmake" for end in ("", "-release")}


PACKAGE = {"lib/cmake/natdeploy/natdeployConfig.cmake", "lib/cmake/natdeploy/natdeployConfigVersion.cmake"}


def _files(prefix):
    return {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    """The consumer's programs, built outside of this repository against a package that was moved."""
    folder = tmp_path_factory.mktemp("consumer")
    moved = moved_package(folder / "moved")
    shutil.copytree(CONSUMER, folder / "project")
    headers = f"-DTENSORRT_HEADERS={tensorrt_headers()};{cuda_root() / 'include'}"
    options = (f"-DCMAKE_PREFIX_PATH={moved}", headers)
    said = run("cmake", "-S", folder / "project", "-B", folder / "build", *options)
    assert re.search(rf"found {re.escape(VERSION)}, CUDA 1[23]\.\d+, GPUs {ARCHITECTURE}\n", said)
    run("cmake", "--build", folder / "build")
    return folder / "build"


def test_what_is_installed():
    assert _files(installed_package()) == OP | PLUGIN | PACKAGE | _targets("op") | _targets("tensorrt_plugin")


def test_nothing_installed_names_a_folder_of_this_machine():
    build = plugin_library().parent
    for folder in (ROOT, build, installed_package(), python_with(CUDA_TOOLKIT).parents[1]):
        for name in _files(installed_package()):
            assert str(folder).encode() not in (installed_package() / name).read_bytes(), name


@pytest.mark.parametrize(
    ("library", "soname"), [("libnatdeploy_op.so", "libnatdeploy_op.so.1"), ("libnatdeploy_trt.so",) * 2]
)
def test_libraries_name_themselves_and_need_the_system_alone(library, soname):
    listed = run("readelf", "--dynamic", "--wide", installed_package() / "lib" / library)
    assert re.findall(r"SONAME.*\[(.*)\]", listed) == [soname]
    assert not re.search("RPATH|RUNPATH", listed)
    needed = {name.partition(".so")[0] for name in re.findall(r"NEEDED.*\[(.*)\]", listed)}
    assert needed <= {"libstdc++", "libgcc_s", "libc", "libm", "libdl", "librt", "libpthread", "ld-linux-x86-64"}


def test_the_operator_from_c(consumer):
    said = run(consumer / "use_op")
    assert "failed" not in said
    manifest = manifest_from_library(installed_package() / "lib" / "libnatdeploy_trt.so")
    tactics = {name: int(number) for name, number in re.findall(r"tactic: (\w+) (\d+)", said)}
    assert tactics == manifest["tactics"]
    assert f"kernels: {manifest['kernel_version']}\n" in said


def test_both_headers_from_cpp(consumer):
    assert "contract" in run(consumer / "include_from_cpp")


def test_the_plugin_opened_by_name(consumer):
    plugins = sorted(f"{name} {spec.PLUGIN_VERSION} {spec.PLUGIN_NAMESPACE}" for name in spec.OPERATORS)
    assert sorted(run(consumer / "load_plugin").splitlines()) == plugins


def test_the_plugin_linked(consumer):
    assert json.loads(run(consumer / "link_plugin")) == manifest_from_library(plugin_library())


def test_the_header_names_what_the_plugin_is_called():
    header = (installed_package() / "include" / "natdeploy" / "tensorrt_plugin.h").read_text()
    named = dict(re.findall(r'#define NATDEPLOY_(\w+) "?([^"\n]+)"?\n', header))
    assert named == {
        "PLUGIN_NAMESPACE": spec.PLUGIN_NAMESPACE,
        "PLUGIN_VERSION": spec.PLUGIN_VERSION,
        "PACKED_PLUGIN": spec.PACKED,
        "SPLIT_PLUGIN": spec.SPLIT,
        "PLUGIN_LIBRARY": "libnatdeploy_trt.so",
        "MANIFEST_SCHEMA": str(manifest_from_library(plugin_library())["schema"]),
    }


def _found(tmp_path, prefix, wanted):
    """What CMake says of a project that looks for ``wanted``, and whether it is content."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.16)\nproject(looks LANGUAGES CXX)\nfind_package(natdeploy {wanted})\n"
        "foreach(component op tensorrt_plugin)\n"
        'message(STATUS "${component} ${natdeploy_${component}_FOUND}")\nendforeach()\n'
    )
    done = attempt("cmake", "-S", project, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    return done.returncode == 0, " ".join((done.stdout + done.stderr).split())


def test_a_component_can_be_installed_alone(tmp_path):
    run("cmake", "--install", plugin_library().parent, "--prefix", tmp_path / "p", "--component", "op")
    assert _files(tmp_path / "p") == OP | PACKAGE | _targets("op")
    content, said = _found(tmp_path, tmp_path / "p", "0.1 REQUIRED")
    assert content and "-- op TRUE -- tensorrt_plugin FALSE" in said


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("REQUIRED COMPONENTS tensorrt_plugin", "tensorrt_plugin of natdeploy is not installed in {}: build natdeploy"),
        ("REQUIRED COMPONENTS op onnxruntime", "natdeploy has no component onnxruntime: there are op and"),
        ("0.2 REQUIRED COMPONENTS op", f'compatible with requested version "0.2". {{}}version: {VERSION}'),
    ],
)
def test_what_is_not_there_is_said(tmp_path, wanted, message):
    prefix = tmp_path / "p"
    run("cmake", "--install", plugin_library().parent, "--prefix", prefix, "--component", "op")
    content, said = _found(tmp_path, prefix, wanted)
    assert not content
    assert all(part in said for part in message.split("{}"))


def test_what_is_wished_but_not_required_may_be_absent(tmp_path):
    run("cmake", "--install", plugin_library().parent, "--prefix", tmp_path / "p", "--component", "op")
    content, said = _found(tmp_path, tmp_path / "p", "COMPONENTS op OPTIONAL_COMPONENTS tensorrt_plugin")
    assert content and "-- op TRUE -- tensorrt_plugin FALSE" in said


INSIDE = """
cmake_minimum_required(VERSION 3.24)
project(around LANGUAGES C)
include(FetchContent)
FetchContent_Declare(natdeploy SOURCE_DIR "{root}" SOURCE_SUBDIR plugins)
FetchContent_MakeAvailable(natdeploy)
add_executable(use_op "{root}/tests/cpp/consumer/use_op.c")
target_link_libraries(use_op PRIVATE natdeploy::op)
"""


def test_the_operator_inside_another_project_without_tensorrt(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(INSIDE.format(root=ROOT))
    options = ("-DNATDEPLOY_COMPONENTS=op", f"-DNATDEPLOY_CUDA_ARCHITECTURES={ARCHITECTURE}")
    python = f"-DNATDEPLOY_PYTHON={python_with(CUDA_TOOLKIT)}"
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", *options, python, TENSORRT_ROOT="/absent")
    run("cmake", "--build", tmp_path / "build", "--parallel", "2")
    assert "failed" not in run(tmp_path / "build" / "use_op")
    run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def _configured(folder, *options, **environment):
    python = f"-DNATDEPLOY_PYTHON={python_with(CUDA_TOOLKIT)}"
    return attempt("cmake", "-S", PLUGINS, "-B", folder, python, *options, **environment)


def test_auto_builds_the_operator_where_tensorrt_is_absent(tmp_path):
    done = _configured(tmp_path, "-DNATDEPLOY_PLUGINS=auto", TENSORRT_ROOT="/absent")
    assert done.returncode == 0, done.stderr
    assert "Left out (NATDEPLOY_PLUGINS=auto): tensorrt_plugin\n" in done.stdout
    targets = run("cmake", "--build", tmp_path, "--target", "help")
    assert "natdeploy_op_shared" in targets and "natdeploy_trt" in targets
    run("cmake", "--install", tmp_path, "--prefix", tmp_path / "p", "--component", "python")
    assert _files(tmp_path / "p") == {"natdeploy/lib/left_out.txt"}


@pytest.mark.parametrize("option", ["-DNATDEPLOY_PLUGINS=off", "-DNATDEPLOY_PLUGINS=auto"])
def test_where_nothing_is_built_nothing_is_installed(tmp_path, option):
    said = run("cmake", "-S", PLUGINS, "-B", tmp_path / "build", option, CUDACXX="/absent/nvcc")
    assert ("auto): op;tensorrt_plugin\n" in said) == option.endswith("auto")
    run("cmake", "--build", tmp_path / "build")
    run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def _copied_project(folder):
    """The project without the headers that scripts/fetch_tensorrt_headers may have left."""
    shutil.copytree(PLUGINS, folder / "plugins")
    (folder / "natdeploy").mkdir()
    shutil.copy(ROOT / "natdeploy" / "__init__.py", folder / "natdeploy")
    return folder / "plugins"


@pytest.mark.parametrize("folder", ["include/x86_64-linux-gnu", "include/aarch64-linux-gnu", "include"])
def test_headers_are_found_where_nvidias_packages_put_them(tmp_path, folder):
    system = tmp_path / "usr"
    shutil.copytree(tensorrt_headers(), system / folder)
    root = _copied_project(tmp_path)
    done = attempt("cmake", "-S", root, "-B", tmp_path / "b", f"-DCMAKE_SYSTEM_PREFIX_PATH={system}", CUDACXX="/absent")
    assert f"TensorRT headers: {system / folder}\n" in done.stdout
    assert "TensorRT's headers" not in done.stderr and "/absent does not run" in done.stderr


def test_the_operator_alone_is_offered_where_tensorrt_is_absent(tmp_path):
    root = _copied_project(tmp_path)
    options = (f"-DNATDEPLOY_PYTHON={python_with(CUDA_TOOLKIT)}", "-DCMAKE_SYSTEM_PREFIX_PATH=/absent")
    done = attempt("cmake", "-S", root, "-B", tmp_path / "build", *options)
    if done.returncode == 0:
        pytest.skip("TensorRT is installed on this machine")
    assert "TensorRT's headers were not found" in done.stderr
    assert "-DNATDEPLOY_COMPONENTS=op" in " ".join(done.stderr.split())


def test_unknown_parts_are_refused(tmp_path):
    done = _configured(tmp_path, "-DNATDEPLOY_COMPONENTS=op;onnxruntime")
    assert done.returncode != 0
    assert "it must be op, tensorrt_plugin or both" in " ".join(done.stderr.split())
