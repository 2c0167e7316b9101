"""``scripts/quickstart`` in a clone of its own, where everything can be had and where it cannot."""

import json
import shutil
import subprocess

import onnx
import pytest
from plugins.trt_build import attempt, tensorrt_headers
from side_environments import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")]

SCANS = sorted((ROOT / "tests" / "data" / "digits" / "images").glob("*.png"))


@pytest.fixture
def clone(tmp_path):
    """The files of this repository as they lie here, without what was built or installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def _run(clone, **environment):
    """Run it; give what it wrote to stdout and stderr, and the sidecar of the plan if there is one."""
    done = attempt(clone / "scripts" / "quickstart", TENSORRT_ROOT=str(tensorrt_headers()), **environment)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    sidecar = clone / "quickstart-output" / "digits.plan.json"
    return done.stdout, done.stderr, json.loads(sidecar.read_text("utf-8")) if sidecar.exists() else None


def test_it_ends_with_an_engine_whose_attention_is_the_plugin(clone):
    stdout, stderr, sidecar = _run(clone)
    model = onnx.load(clone / "quickstart-output" / "digits.onnx")
    nodes = [node for node in model.graph.node if node.domain == "natdeploy"]
    assert len(nodes) > 1
    assert sidecar["engine"]["backend"] == "tensorrt-rtx"
    assert len(sidecar["engine"]["attention_layers"]) == len(nodes)
    assert set(sidecar["engine"]["attention_layers"].values()) == {"float16"}
    assert "digits.onnx agrees with its reference" in stdout
    assert sum(line.count("digit-") for line in stdout.splitlines()) == len(SCANS)
    before = (clone / "quickstart-output" / "digits.onnx").read_bytes()
    again, _, _ = _run(clone)
    assert "agrees" in again and "installing" in stderr
    assert (clone / "quickstart-output" / "digits.onnx").read_bytes() == before, "same input, other bytes"


def test_without_the_plugin_it_says_what_is_missing_and_builds_from_standard_onnx(clone):
    done = attempt(clone / "scripts" / "quickstart", TENSORRT_ROOT="/absent/tensorrt")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "without the plugin" in done.stderr and "TENSORRT_ROOT is /absent/tensorrt" in done.stderr
    sidecar = json.loads((clone / "quickstart-output" / "digits.plan.json").read_text("utf-8"))
    assert sidecar["engine"]["attention_layers"] == {} and sidecar["engine"]["plugin"] is None
    assert sidecar["form"] == "portable"


def test_where_tensorrt_for_rtx_does_not_install_it_says_how_to_get_an_engine(clone, tmp_path):
    constraint = tmp_path / "constraint.txt"
    constraint.write_text("tensorrt-rtx-cu13-libs==0.0.0\n")
    stdout, stderr, sidecar = _run(clone, UV_CONSTRAINT=str(constraint))
    assert sidecar is None
    assert "digits.onnx agrees with its reference" in stdout
    assert "no engine was built. On a machine with an NVIDIA GPU: pip install '.[tensorrt]'" in stderr
