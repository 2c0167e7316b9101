"""Hub ids, from huggingface_hub's local cache: in a process of its own, which reads the environment at import."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from checkpoints.hub_cache import HUB_ID, cache_with
from checkpoints.tiny import GOLDEN

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.checkpoints.hub import is_hub_id

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")

READ = """
import json, sys
from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.checkpoints.load import path_of_checkpoint
from natdeploy.errors import NatdeployError
try:
    checkpoint = weights_from_checkpoint(sys.argv[1])
except NatdeployError as error:
    print(json.dumps({"error": str(error)}))
else:
    path = str(path_of_checkpoint(sys.argv[1]))
    print(json.dumps({"sha256": checkpoint.sha256, "source": checkpoint.source, "path": path}))
"""


def read(tmp_path, checkpoint=HUB_ID, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    result = subprocess.run(
        [sys.executable, "-c", READ, checkpoint],
        env={**clean, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(result.stdout)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_cached_checkpoint_is_read_offline(weights, tmp_path):
    content = GOLDEN / "hf_nat" / "model.safetensors"
    if weights == "pytorch_model.bin":
        import torch
        from safetensors.torch import load_file

        torch.save(load_file(content), tmp_path / weights)
        content = tmp_path / weights
    files = {"config.json": GOLDEN / "hf_nat" / "config.json", weights: content}
    snapshot = cache_with(tmp_path / "home" / "hub", files)
    found = read(tmp_path, HF_HUB_OFFLINE="1")
    sha256 = weights_from_checkpoint(GOLDEN / "hf_nat").sha256
    assert found == {"sha256": sha256, "source": HUB_ID, "path": str(snapshot)}


def test_a_path_of_that_name_wins(tmp_path):
    files = {name: GOLDEN / "hf_dinat" / name for name in ("config.json", "model.safetensors")}
    cache_with(tmp_path / "home" / "hub", files)
    shutil.copytree(GOLDEN / "hf_nat", tmp_path / HUB_ID)
    found = read(tmp_path, HF_HUB_OFFLINE="1")
    assert found["sha256"] == weights_from_checkpoint(GOLDEN / "hf_nat").sha256
    assert found["path"] == HUB_ID


def test_cache_elsewhere_is_found_by_its_variable(tmp_path):
    files = {name: GOLDEN / "hf_dinat" / name for name in ("config.json", "model.safetensors")}
    cache_with(tmp_path / "elsewhere", files)
    found = read(tmp_path, HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "elsewhere"))
    assert found["sha256"] == weights_from_checkpoint(GOLDEN / "hf_dinat").sha256


def test_incomplete_cache_says_what_is_missing(tmp_path):
    cache_with(tmp_path / "home" / "hub", {"config.json": GOLDEN / "hf_nat" / "config.json"})
    assert "there are no weights in" in read(tmp_path, HF_HUB_OFFLINE="1")["error"]


@pytest.mark.parametrize(
    "environment",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}],  # nothing listens on the discard port
    ids=["offline", "unreachable"],
)
def test_what_cannot_be_fetched_is_one_paragraph(environment, tmp_path):
    error = read(tmp_path, **environment)["error"]
    assert error.startswith(f"'{HUB_ID}' is no file or directory here, and it could not be fetched")
    assert "\n" not in error and "Traceback" not in error
    assert "Check the name and the connection" in error


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    from natdeploy.errors import MissingDependencyError

    with pytest.raises(MissingDependencyError, match=r"natdeploy\[hub\]") as error:
        weights_from_checkpoint(HUB_ID)
    assert f"'{HUB_ID}' is no file or directory here" in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HUB_ID, True),
        ("a/b", True),
        ("owner/name.v2", True),
        ("name", False),
        ("a/b/c", False),
        ("../b", False),
        ("/a", False),
        ("a b/c", False),
        ("random:nat_mini", False),
        ("C:/models", False),
    ],
)
def test_form_of_a_hub_id(text, expected):
    assert is_hub_id(text) is expected
