"""The built plugin library: what it links and exports, its manifest, and how natdeploy finds and checks it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugins.trt_build import ARCHITECTURE, ROOT, attempt, cuda_root, plugin_library, run, tensorrt_headers

import natdeploy
from natdeploy import __version__
from natdeploy.errors import NatdeployError
from natdeploy.ops import spec
from natdeploy.plugin_library import (
    VARIABLE,
    checked_plugin_library,
    differences_from_spec,
    manifest_from_library,
    plugin_library_path,
)

pytestmark = pytest.mark.slow

SHIPPED = ("75-real", "80-real", "86-real", "87-real", "89-real", "90-real", "100-real", "120")
SYSTEM_LIBRARIES = {"libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}


@pytest.fixture(scope="module")
def library():
    return plugin_library()


@pytest.fixture
def manifest(library):
    return manifest_from_library(library)


def test_needs_no_tensorrt_and_no_cuda_library(library):
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "--dynamic", "--wide", library)))
    assert needed <= SYSTEM_LIBRARIES
    assert "libc.so.6" in needed


def test_exports_three_functions(library):
    symbols = run("readelf", "--dyn-syms", "--wide", library).splitlines()
    exported = {
        row.split()[7] for row in symbols if re.search(r"(GLOBAL|WEAK|UNIQUE)\s+(DEFAULT|PROTECTED)\s+\d+", row)
    }
    assert exported == {"getCreators", "setLoggerFinder", "natdeploy_manifest"}


def _architectures(library):
    """GPUs with machine code, and those with PTX, as the compiler noted them in the file."""
    content = library.read_bytes()
    found = (re.findall(pattern, content) for pattern in (rb"-arch sm_(\d+) ", rb"\.target sm_(\d+)"))
    return tuple({int(number) for number in numbers} for numbers in found)


def test_holds_machine_code_for_the_gpu_asked_for_alone(library):
    assert _architectures(library) == ({int(ARCHITECTURE.removesuffix("-real"))}, set())


def test_all_gpus_that_are_shipped_are_the_default(tmp_path):
    nvcc = f"-DCMAKE_CUDA_COMPILER={cuda_root() / 'bin' / 'nvcc'}"
    said = run("cmake", "-S", ROOT / "plugins", "-B", tmp_path, nvcc, f"-DTENSORRT_ROOT={tensorrt_headers()}")
    assert f"for {';'.join(SHIPPED)}\n" in said


def test_compiles_for_all_gpus_that_are_shipped(pytestconfig, tmp_path):
    if not pytestconfig.getoption("--all-architectures"):
        pytest.skip("minutes: runs with --all-architectures")
    environment = {"CUDACXX": str(cuda_root() / "bin" / "nvcc"), "TENSORRT_ROOT": str(tensorrt_headers())}
    run("cmake", "-S", ROOT / "plugins", "-B", tmp_path, NATDEPLOY_CUDA_ARCHITECTURES="all", **environment)
    run("cmake", "--build", tmp_path, "--target", "natdeploy_trt", "--parallel", "2", time_limit=3600)
    compiled, ptx = _architectures(tmp_path / "libnatdeploy_trt.so")
    assert compiled == {int(name.removesuffix("-real")) for name in SHIPPED}
    assert ptx == {max(compiled)}


def test_manifest_agrees_with_the_declaration(manifest):
    assert differences_from_spec(manifest) == []
    assert manifest["natdeploy_version"] == __version__
    assert manifest["cuda_architectures"] == [ARCHITECTURE]
    assert [o["op_type"] for o in manifest["operators"]] == list(spec.OPERATORS)
    assert manifest["spatial_ranks"] == [2]


def test_tactic_numbers_are_frozen(manifest):
    """They are stored in plans."""
    frozen = {"generic": 1, "tensor_core": 2, "whole_map": 3}
    assert frozen.items() <= manifest["tactics"].items()
    assert len(set(manifest["tactics"].values())) == len(manifest["tactics"])


def test_reading_leaves_the_library_unloaded(library):
    """Else it could not register itself when TensorRT is there."""
    code = (
        "import sys; from pathlib import Path; from natdeploy.plugin_library import manifest_from_library as m;"
        "path = Path(sys.argv[1]); m(path); m(path); maps = Path('/proc/self/maps').read_text();"
        "print('libnatdeploy_trt' in maps, 'nvinfer' in maps, 'NATDEPLOY_SELF_REGISTER' in __import__('os').environ)"
    )
    assert run(sys.executable, "-c", code, library).split() == ["False", "False", "False"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.update(plugin_version="2"), "plugin_version is '2' in the library, '1' in natdeploy"),
        (lambda m: m.update(domain_version=7), "domain_version is 7"),
        (lambda m: m["operators"].pop(), f"does not compute {spec.SPLIT}"),
        (lambda m: m["operators"].append({"op_type": "Other"}), "Other, which natdeploy does not know"),
        (lambda m: m["operators"][0]["attributes"].pop(0), "'num_heads' is in natdeploy only"),
        (lambda m: m["operators"][1]["attributes"][0].update(type="INT"), "'kernel_size' is INT in the library, INTS"),
        (lambda m: m["operators"][1]["attributes"].append({"name": "x", "type": "INT"}), "'x' is in the library only"),
    ],
)
def test_every_difference_is_named(manifest, change, expected):
    change(manifest)
    differences = differences_from_spec(manifest)
    assert len(differences) == 1
    assert expected in differences[0]


def test_where_it_is_looked_for(library, tmp_path, monkeypatch):
    other = tmp_path / "other.so"
    other.write_bytes(b"")
    monkeypatch.setenv(VARIABLE, str(library))
    assert plugin_library_path() == library
    assert plugin_library_path(other) == other
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(natdeploy, "__path__", [str(tmp_path / "sources"), str(tmp_path / "natdeploy")])
    with pytest.raises(NatdeployError, match=r"not installed.*NATDEPLOY_PLUGIN_LIBRARY.*NATDEPLOY_PLUGINS=required"):
        plugin_library_path()
    inside = tmp_path / "natdeploy" / "lib" / "libnatdeploy_trt.so"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"")
    assert plugin_library_path() == inside


def test_a_named_library_that_is_not_there_is_an_error_even_where_another_would_be_found(
    library, tmp_path, monkeypatch
):
    monkeypatch.setenv(VARIABLE, str(library))
    with pytest.raises(NatdeployError, match="the plugin library is not a file"):
        plugin_library_path(tmp_path / "absent.so")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent.so"))
    with pytest.raises(NatdeployError, match=f"that {VARIABLE} names is not a file"):
        plugin_library_path()


def _shared_library(directory: Path, source: str) -> Path:
    path = directory / "library.so"
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)
    return path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "is not natdeploy's plugin library"),
        ('extern "C" const char* natdeploy_manifest() { return nullptr; }', "Got: schema no JSON object"),
        ('extern "C" const char* natdeploy_manifest() { return "["; }', "Got: schema no JSON object"),
        ('extern "C" const char* natdeploy_manifest() { return "{\\"schema\\": 2}"; }', "Got: schema 2"),
    ],
)
def test_other_libraries_are_refused(tmp_path, source, message):
    with pytest.raises(NatdeployError, match=re.escape(message)):
        manifest_from_library(_shared_library(tmp_path, source))


def test_a_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "text.so"
    path.write_text("text")
    with pytest.raises(NatdeployError, match="cannot be loaded"):
        manifest_from_library(path)


def test_a_library_of_another_operator_is_refused_with_every_difference(tmp_path):
    manifest = json.dumps({"schema": 1, "natdeploy_version": "0.0.9", "domain": "natdeploy", "operators": []})
    source = f'extern "C" const char* natdeploy_manifest() {{ return R"({manifest})"; }}'
    with pytest.raises(NatdeployError, match=r"built from natdeploy 0\.0\.9.*domain_version.*does not compute Packed"):
        checked_plugin_library(_shared_library(tmp_path, source))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("-DCMAKE_CUDA_COMPILER=/bin/false", "Name a working CUDA compiler with -DCMAKE_CUDA_COMPILER"),
        ("-DTENSORRT_ROOT=/usr/share", "Name the root folder of a TensorRT SDK, 10.3 or newer"),
    ],
)
def test_what_the_build_lacks_is_explained(library, tmp_path, option, message):
    nvcc = f"-DCMAKE_CUDA_COMPILER={cuda_root() / 'bin' / 'nvcc'}"
    done = attempt("cmake", "-S", ROOT / "plugins", "-B", tmp_path, nvcc, option)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())
