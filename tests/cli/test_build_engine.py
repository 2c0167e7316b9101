"""``natdeploy build-engine`` with TensorRT for RTX, which needs no GPU; what others say of its plans is elsewhere."""

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path

import onnx
import pytest
from command_line import digits_onnx, dynamic_onnx, edited, one_paragraph, plugin_onnx, portable_onnx
from command_line import run as run_here
from engines.rtx import VERSION, command, environment, run
from ops.cases import Case
from ops.onnx_models import single_node_model
from plugins.trt_build import plugin_library

from natdeploy.ops.spec import PACKED

pytestmark = pytest.mark.slow

RTX = ("--backend", "tensorrt-rtx")
LAYERS = {
    f"stages.{stage}.blocks.{block}.attention": "float32" for stage, block in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))
}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def place(tmp_path):
    """A directory with an engine that must stay unless a new one is complete."""
    (tmp_path / "m.plan").write_bytes(b"what was there before")
    return tmp_path


@pytest.mark.parametrize(
    "model, layers, points",
    [
        (digits_onnx, LAYERS, [[1, 1, 32, 32], [1, 1, 32, 32], [8, 1, 32, 32]]),
        (plugin_onnx, LAYERS, [[1, 1, 32, 32], [1, 1, 32, 32], [8, 1, 32, 32]]),
        (portable_onnx, {}, [[1, 1, 32, 32], [1, 1, 32, 32], [8, 1, 32, 32]]),
        (dynamic_onnx, LAYERS, [[3, 1, 40, 40], [3, 1, 40, 40], [3, 1, 72, 72]]),
    ],
)
def test_every_form(place, model, layers, points):
    plan = place / "m.plan"
    result = run("build-engine", model(), "-o", plan, *RTX, "--json")
    assert result.status == 0, result.err
    assert result.err.splitlines()[-1] == f"Next: natdeploy inspect {plan}"
    document = json.loads((place / "m.plan.json").read_text("utf-8"))
    engine = document.pop("engine")
    assert result.json == {"file": str(plan), "engine": engine}
    assert engine["options"]["tf32"] is False
    assert engine["plan"] == {"sha256": sha256(plan), "bytes": plan.stat().st_size}
    assert engine["onnx"] == {"sha256": sha256(model()), "parsed_sha256": sha256(model())}
    assert engine["attention_layers"] == layers
    assert engine["profiles"] == [{"pixel_values": dict(zip(("min", "opt", "max"), points, strict=True))}]
    assert (engine["backend"], engine["version"], engine["gpu"]) == ("tensorrt-rtx", VERSION, None)
    if layers:
        assert engine["plugin"]["sha256"] == sha256(plugin_library())
        assert [(c["name"], c["nodes"]) for c in engine["plugin"]["creators"]] == [(PACKED, 5)]
    else:
        assert engine["plugin"] is None
    (entry,) = (entry for entry in onnx.load(model()).metadata_props if entry.key == "natdeploy")
    assert document == json.loads(entry.value)
    assert sorted(path.name for path in place.iterdir()) == ["m.plan", "m.plan.json"]
    described = run_here("inspect", plan, "--json").json
    assert described["built_by"] == f"TensorRT for RTX {VERSION}"
    assert described["attention_plugins"] == len(layers)
    plan.write_bytes(plan.read_bytes()[:-1])
    one_paragraph(run_here("inspect", plan), "is a plan that was cut off")


def test_every_option_at_once(place):
    cache, plan = place / "times.cache", place / "m.plan"
    result = run(
        "build-engine",
        digits_onnx(),
        "-o",
        plan,
        *RTX,
        "--shapes",
        "pixel_values=1x1x32x32,4x1x32x32,16x1x32x32",
        "--timing-cache",
        cache,
        "--workspace",
        "1GiB",
        "--optimization-level",
        "1",
        "--embed-plugin",
        "--config",
        "TF32=1",
        "--config",
        "max_aux_streams=2",
        "--config",
        "profiling_verbosity=DETAILED",
        "--config",
        "TACTIC_SHARED_MEMORY=64KiB",
    )
    assert result.status == 0, result.err
    assert "5, in float32" in result.out
    assert "pixel_values 1x1x32x32 / 4x1x32x32 / 16x1x32x32" in result.out
    assert "TensorRT for RTX measures nothing when it builds" in result.err
    engine = json.loads((place / "m.plan.json").read_text("utf-8"))["engine"]
    settings = {"TF32": "1", "max_aux_streams": "2", "profiling_verbosity": "DETAILED", "TACTIC_SHARED_MEMORY": "64KiB"}
    assert engine["options"] == {
        "precision": "fp32",
        "tf32": True,
        "optimization_level": 1,
        "workspace_bytes": 2**30,
        "version_compatible": False,
        "hardware_compatibility": "NONE",
        "config": settings,
    }
    assert engine["plugin"]["embedded"]
    assert plan.stat().st_size > plugin_library().stat().st_size
    assert plugin_library().read_bytes()[:4096] in plan.read_bytes()
    assert cache.stat().st_size > 0


@pytest.mark.parametrize("option, dtype", [("fp16", "float16"), ("bf16", "bfloat16")])
@pytest.mark.parametrize("model", [digits_onnx, portable_onnx, dynamic_onnx])
def test_half_precision(place, model, option, dtype):
    plan = place / "m.plan"
    if option == "fp16":
        result = run("build-engine", model(), "-o", plan, *RTX, "--fp16")
    else:
        result = run("build-engine", model(), "-o", plan, *RTX, "--bf16")
    assert result.status == 0, result.err
    assert "the numbers were not checked: ONNX Runtime is not installed" in result.err
    document = json.loads((place / "m.plan.json").read_text("utf-8"))
    engine = document["engine"]
    assert document["precision"]["weights"] == dtype
    assert engine["attention_layers"] == ({} if model is portable_onnx else dict.fromkeys(LAYERS, dtype))
    assert [t["dtype"] for t in (*engine["inputs"], *engine["outputs"])] == ["float32", "float32"]
    assert engine["onnx"]["sha256"] == sha256(model()) != engine["onnx"]["parsed_sha256"]


def test_a_dry_run_writes_nothing(place):
    before = contents(place)
    result = run("build-engine", digits_onnx(), "-o", place / "m.plan", *RTX, "--dry-run")
    assert result.status == 0, result.err
    assert "5, in float32" in result.out
    assert "none: a dry run" in result.out
    assert "Next:" not in result.err
    assert contents(place) == before


def fails(place, *arguments, says, **how):
    before = contents(place)
    one_paragraph(run("build-engine", *arguments, "-o", place / "m.plan", *RTX, **how), *says)
    assert contents(place) == before


def test_settings_that_tensorrt_does_not_have_are_all_told(place):
    wrong = ("max_aux_streams=x", "profiling_verbosity=ALL", "TF32=maybe", "WORKSPACE=lots")
    options = [word for pair in ("FOO=1", *wrong) for word in ("--config", pair)]
    says = [
        f"TensorRT for RTX {VERSION} cannot be configured like that",
        "no setting 'FOO'",
        "max_aux_streams is 'x', which is no int",
        "profiling_verbosity is 'ALL', not one of LAYER_NAMES_ONLY, DETAILED, NONE",
        "TF32 is 'maybe', not 1 or 0",
        "WORKSPACE is 'lots', no size",
        "hardware_compatibility_level",
    ]
    fails(place, digits_onnx(), *options, says=says)


def _finding(result, subject):
    (found,) = (finding for finding in result.json["findings"] if finding["subject"] == subject)
    return found


def test_the_doctor_starts_tensorrt_and_loads_the_plugin(tmp_path):
    found = _finding(run("doctor", "--json"), "TensorRT for RTX")
    assert (found["state"], found["detail"]) == ("ok", f"{VERSION}, takes the plugin")
    (tmp_path / "tensorrt_rtx_libs.py").write_text("raise ImportError('not here')")
    found = _finding(run("doctor", "--json", PYTHONPATH=str(tmp_path)), "TensorRT for RTX")
    assert (found["state"], "cannot be loaded" in found["detail"]) == ("problem", True)
    assert "pip install -U 'natdeploy[tensorrt-rtx]'" in found["advice"]


def _version_2(model):
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "plugin_version":
                attribute.s = b"2"
    del model.functions[:]


def test_the_parser_s_errors_are_all_told_and_said_once(place, tmp_path_factory):
    model = edited(digits_onnx(), tmp_path_factory.mktemp("m") / "v2.onnx", _version_2)
    says = [f"TensorRT for RTX {VERSION} cannot parse 'v2.onnx'", "no plugin for this op, in the version and namespace"]
    says += [f"stages.0.blocks.0.attention ({PACKED})"]
    fails(place, model, says=says)


def test_the_plugin_says_why_it_refuses(place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    strided = Case((9, 22), (5, 3), stride=(2, 1), batch=2, heads=2, head_dim=16)
    onnx.save(single_node_model(strided, PACKED, "plugin"), folder / "strided.onnx")
    fails(
        place, folder / "strided.onnx", says=["the plugin refuses this node: attention", "stride 2x1 is not supported"]
    )
    case = Case((9, 22), (7, 3), batch=2, heads=2, head_dim=16)
    onnx.save(single_node_model(case, PACKED, "plugin", free=True), folder / "free.onnx")
    shapes = ("--shapes", "1x5x8x96,1x5x9x96,1x6x9x96")
    fails(place, folder / "free.onnx", *shapes, says=["could not build", "kernel_size 7x3", "exceeds the map 6x9"])


def test_a_tensorrt_without_its_libraries(place):
    (place / "shadows").mkdir()
    (place / "shadows" / "tensorrt_rtx_libs.py").write_text("raise ImportError('not here')")
    before = sorted(place.rglob("*"))
    result = run("build-engine", digits_onnx(), "-o", place / "m.plan", *RTX, PYTHONPATH=str(place / "shadows"))
    says = ["TensorRT for RTX is installed, but cannot be loaded", "libtensorrt", "natdeploy[tensorrt-rtx]"]
    one_paragraph(result, *says)
    assert [path for path in sorted(place.rglob("*")) if "__pycache__" not in str(path)] == before


WITHOUT_LINK = "from natdeploy.engines.backends import Backend; Backend.library_link = lambda self: None"


def test_a_tensorrt_that_ends_its_process(place):
    """The parser does, where it does not find libtensorrt_rtx.so; the command goes on and says so."""
    says = [f"TensorRT for RTX {VERSION} ended its process", "signal SIGABRT", "--dry-run"]
    fails(place, digits_onnx(), says=says, before=WITHOUT_LINK)


def _children(process):
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def _started(place):
    """Start a build and wait for its worker."""
    process = subprocess.Popen(
        command("build-engine", portable_onnx(), "-o", place / "m.plan", *RTX),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not (workers := _children(process.pid)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return process, workers


def _gone(worker):
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and " Z " not in Path(f"/proc/{worker}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return True


def test_a_killed_build_leaves_the_old_plan(place):
    process, workers = _started(place)
    process.kill()
    process.communicate()
    assert all(_gone(worker) for worker in workers)  # it must not go on by itself
    assert (place / "m.plan").read_bytes() == b"what was there before"
    assert not (place / "m.plan.json").exists()


def test_an_interrupted_build_leaves_nothing(place):
    process, workers = _started(place)
    before = {"m.plan": b"what was there before"}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "interrupted"
    assert all(_gone(worker) for worker in workers)
    assert contents(place) == before


KILLED_BETWEEN = """
import os, signal, pathlib
rename = pathlib.Path.replace
def replace(source, target):
    rename(source, target)
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.replace = replace
"""


def test_killed_between_sidecar_and_plan(place):
    result = run("build-engine", digits_onnx(), "-o", place / "m.plan", *RTX, before=KILLED_BETWEEN)
    assert result.status == -signal.SIGKILL
    assert (place / "m.plan").read_bytes() == b"what was there before"
    assert (place / "m.plan.json").exists()
