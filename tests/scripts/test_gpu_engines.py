"""Engines: what is built here without a GPU, and how the reports of those that ran are judged."""

import json
import math
import sys
from pathlib import Path

import pytest
from plugins.test_trt_engines import PACKAGES
from plugins.trt_build import attempt, plugin_library
from side_environments import ROOT, python_with

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks import engines, steps
from gpu_checks.prepare_models import LAYERS, write_layers

OUTPUT = {"error": 1e-3, "deviation": 0.7, "dtype": "float16"}
GOOD = {
    "version": "11.4",
    "loaded": True,
    "parsed": True,
    "messages": [],
    "layers": {"PLUGIN_V3": 1},
    "engine_bytes": 1000,
    "ran": True,
    "outputs": {"output": OUTPUT},
    "replayed": {"output": 1e-3},
}


def test_a_good_engine_has_no_problems():
    assert engines.problems_of(GOOD) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"crashed": "status -11"}, "crashed with status -11"),
        ({"loaded": False}, "cannot be loaded"),
        ({"parsed": False, "messages": ["no importer"]}, "no importer"),
        ({"engine_bytes": None}, "no engine"),
        ({"layers": {"CONVOLUTION": 9}}, "no layer is a plugin"),
        ({"ran": False}, "did not run"),
        ({"outputs": {"output": {**OUTPUT, "error": 0.1}}}, "output: error 1.00e-01 exceeds 4.00e-03"),
        ({"outputs": {"output": {**OUTPUT, "error": math.nan}}}, "error nan exceeds"),
        ({"replayed": {"output": math.inf}}, "output as a CUDA graph: error inf"),
    ],
)
def test_what_is_wrong_with_an_engine_is_named(change: dict, problem: str):
    found = engines.problems_of({**GOOD, **change})
    assert len(found) == 1 and problem in found[0]


def test_whole_models_are_judged_by_the_deviation_of_their_outputs():
    assert engines.limit_of({"dtype": "float32", "deviation": 2.0}) == 2 * engines.MODEL_TOLERANCE
    assert engines.limit_of({"dtype": "bfloat16", "deviation": 2.0}) == pytest.approx(4e-2)


def test_what_is_missing_for_engines_is_said(tmp_path: Path, monkeypatch):
    def reason(**values):
        values = {"plugin": tmp_path, "models": tmp_path, **values}
        return engines.reason_against_engines(steps.Context(None, "cpu", 90, None, **values))

    monkeypatch.delenv("TENSORRT_ROOT", raising=False)
    assert "TENSORRT_ROOT" in reason()
    monkeypatch.setenv("TENSORRT_ROOT", str(tmp_path))
    monkeypatch.setattr(engines, "bindings", lambda: None)
    assert "Python bindings" in reason()
    monkeypatch.setattr(engines, "bindings", lambda: "tensorrt")
    assert "--plugin" in reason(plugin=None)
    assert "prepare_models.py" in reason()
    (tmp_path / "model.onnx").touch()
    assert reason() is None


def test_libraries_of_the_sdk_come_first(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "elsewhere")
    (tmp_path / "lib").mkdir()
    assert engines.child_environment(tmp_path)["LD_LIBRARY_PATH"] == f"{tmp_path / 'lib'}:{tmp_path}:elsewhere"


@pytest.mark.slow
def test_prepared_layers_become_engines_without_a_gpu(tmp_path: Path):
    write_layers(tmp_path)
    models = sorted(tmp_path.glob("*.onnx"))
    assert len(models) == 4 * len(LAYERS)
    python = python_with(*PACKAGES)
    libraries = next((python.parents[1] / "lib").glob("python*/site-packages/tensorrt_rtx_libs"))
    links = tmp_path / "links"
    links.mkdir()
    (links / "libtensorrt_rtx.so").symlink_to(libraries / "libtensorrt_rtx.so.1")
    for model in models:
        command = [python, "-m", "gpu_checks.engine_run", "tensorrt_rtx_bindings", plugin_library(), model]
        environment = {"LD_LIBRARY_PATH": str(links), "PYTHONPATH": str(ROOT / "scripts")}
        done = attempt(*command, model.with_suffix(".npz"), "--build-only", **environment)
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout.splitlines()[-1])
        assert engines.problems_of({**seen, "ran": True}) == []
        assert seen["layers"]["PLUGIN_V3"] == 1 and seen["layers"].keys() <= {"PLUGIN_V3", "CONSTANT"}
