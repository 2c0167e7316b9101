"""docs/cpp.md: its programs compile and run, its lines work, its options and links are there."""

import re
import shlex
import shutil

import pytest
from plugins.installed_package import installed_package, moved_package
from plugins.trt_build import PLUGINS, ROOT, attempt, cuda_root, plugin_library, run, tensorrt_headers
from scripts.emulated_op import emulated_op
from side_environments import python_with

DOCUMENT = (ROOT / "docs" / "cpp.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n(?://|#) ([\w.]+)(.*?)```", DOCUMENT, re.DOTALL))
NO_GPU = "no GPU of compute capability 7.5 or newer\n"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")


def _written(folder, *names):
    for name in names:
        comment = "#" if name.endswith(".txt") else "//"
        (folder / name).write_text(f"{comment} {FILES[name]}")
    return folder


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory):
    """CUDA as a system installs it: the Python package has lib for lib64, and no link without a number."""
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "bin").mkdir()
    (folder / "lib64").mkdir()
    (folder / "include").symlink_to(cuda_root() / "include")
    (folder / "bin" / "nvcc").symlink_to(cuda_root() / "bin" / "nvcc")
    for library in (cuda_root() / "lib").iterdir():
        (folder / "lib64" / library.name.replace(".so.13", ".so")).symlink_to(library)
    return folder


@pytest.mark.slow
@needs_cmake
def test_the_program_by_cmake(tmp_path, toolkit):
    project = _written(tmp_path, "CMakeLists.txt", "program.cpp")
    prefix = moved_package(tmp_path / "moved")
    run("cmake", "-S", project, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCUDAToolkit_ROOT={toolkit}")
    run("cmake", "--build", tmp_path / "b")
    done = attempt(tmp_path / "b" / "program", CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stderr) == (1, NO_GPU)


@pytest.mark.slow
@needs_cmake
def test_the_program_by_the_line_without_cmake(tmp_path, toolkit):
    _written(tmp_path, "program.cpp")
    (line,) = re.findall(r"^g\+\+ .*?[^\\]$", DOCUMENT, re.DOTALL | re.MULTILINE)
    line = line.replace("\\\n", " ").replace("/opt/natdeploy", str(installed_package()))
    words = shlex.split(line.replace("/usr/local/cuda", str(toolkit)))
    words = [str(tmp_path / word) if word in ("program.cpp", "program") else word for word in words]
    run(*words, *STRICT)
    done = attempt(tmp_path / "program", CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stderr) == (1, NO_GPU)


def test_the_program_computes_on_this_cpu(tmp_path):
    """With the kernels under the emulation."""
    library, header = emulated_op().path, PLUGINS / "c_api" / "include"
    cuda = ROOT / "tests" / "cpp" / "consumer" / "cuda_on_host_memory.cpp"
    _written(tmp_path, "program.cpp")
    includes = ("-isystem", cuda_root() / "include", "-I", header)
    sources = (tmp_path / "program.cpp", cuda, library, f"-Wl,-rpath,{library.parent}")
    run("g++", "-std=c++17", *STRICT, *includes, *sources, "-o", tmp_path / "program")
    assert run(tmp_path / "program") == "first 2, last 2\n"


LOADS = """
#include "load.cpp"

#include <cstdio>

int main(int, char** words) {
  if (getInferLibMajorVersion() != NV_TENSORRT_MAJOR) return 77;
  const bool first = load_plugin(*getPluginRegistry(), words[1]);
  std::printf("%d %d\\n", first, load_plugin(*getPluginRegistry(), words[1]));
}
"""


@pytest.mark.slow
def test_the_plugin_is_loaded_into_tensorrt(tmp_path):
    """Into the lean runtime 11.4's registry, which needs no GPU; for the second time it is refused."""
    python = python_with(*(f"tensorrt-lean-cu13-{part}==11.4.0.106" for part in ("libs", "bindings")), "numpy")
    (runtime,) = python.parents[1].glob("lib/python*/site-packages/tensorrt_lean_libs/libnvinfer_lean.so.11")
    (_written(tmp_path, "load.cpp") / "main.cpp").write_text(LOADS)
    theirs = ("-isystem", tensorrt_headers(), "-isystem", cuda_root() / "include")
    own = ("-I", PLUGINS / "tensorrt" / "include", "-o", tmp_path / "loads")
    linked = (runtime, f"-Wl,-rpath,{runtime.parent}", "-Wl,--allow-shlib-undefined")
    run("g++", "-std=c++17", *STRICT, *theirs, *own, tmp_path / "main.cpp", *linked)
    done = attempt(tmp_path / "loads", plugin_library())
    if done.returncode == 77:
        pytest.skip("TENSORRT_ROOT has headers of another TensorRT than 11")
    assert (done.returncode, done.stdout) == (0, "1 0\n")


@pytest.mark.slow
def test_the_graph_compiles(tmp_path):
    _written(tmp_path, "graph.cpp")
    headers = ("-I", PLUGINS / "c_api" / "include", "-isystem", cuda_root() / "include")
    run("g++", "-std=c++17", *STRICT, *headers, "-c", tmp_path / "graph.cpp", "-o", tmp_path / "o")


def test_the_options_are_those_of_the_build():
    named = set(re.findall(r"^\| `(NATDEPLOY_\w+)`", DOCUMENT, re.MULTILINE)) | {"NATDEPLOY_AARCH64_CXX"}
    texts = [path.read_text() for path in (PLUGINS / "CMakeLists.txt", *(PLUGINS / "cmake").iterdir())]
    assert all(any(re.search(rf"\b{name}\b", text) for text in texts) for name in named)
    offered = {name for text in texts for name in re.findall(r"^(?:set|option)\((NATDEPLOY_\w+) .*CACHE", text, re.M)}
    assert offered <= named


def test_every_file_that_it_links_to_is_there():
    linked = re.findall(r"\]\(([^)#]+)", DOCUMENT)
    assert {"sidecar.md", "../plugins/examples/README.md"} <= set(linked)
    assert [name for name in linked if not (ROOT / "docs" / name).exists()] == []
