"""The versions of transformers that docs/compat.md speaks of, each in an environment of its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkpoints.hub_cache import HUB_ID, cache_with
from safetensors.torch import load_file, save_file
from side_environments import ROOT, as_installed_here, python_with

from natdeploy import onnx_from_checkpoint, weights_from_checkpoint
from natdeploy.onnx_files.settings import ExportSettings

GOLDEN = ROOT / "tests" / "data" / "golden"


def environment_with(transformers: str) -> Path:
    command_line = ("click", "jsonschema", "onnx", "onnx-ir", "onnxruntime", "rich")
    needed = ("torch", "numpy", "pillow", "safetensors", "pytest", *command_line)
    pinned = [as_installed_here(package) for package in needed]
    return python_with(f"transformers=={transformers}", *pinned, newest_python=(3, 12))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["4.40.2", "4.53.3"])
def test_hugging_faces_models_agree_with_ours(version: str):
    # Without this repository's pytest options: they may name plugins that the environment does not have.
    options = ["-q", "-rs", "-c", os.devnull, "--rootdir", str(ROOT), "--noconftest", "--import-mode=importlib"]
    tests = Path(__file__).with_name("test_huggingface_models.py")
    command = [environment_with(version), "-m", "pytest", *options, tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout


def verify(artifact: Path, checkpoint: str | Path, **environment: str) -> subprocess.CompletedProcess:
    """Run ``natdeploy verify --reference transformers`` beside Hugging Face's own code."""
    command = ["-c", "from natdeploy.cli import main; main()", "verify", artifact, "--checkpoint", checkpoint]
    return subprocess.run(
        [environment_with("4.53.3"), *command, "--reference", "transformers"],
        env={**os.environ, **environment},
        cwd=artifact.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_verify_takes_transformers_as_its_reference(tmp_path: Path):
    golden = GOLDEN / "hf_dinat"
    artifact = tmp_path / "model.onnx"
    onnx_from_checkpoint(weights_from_checkpoint(golden), artifact, ExportSettings(image_size=(64, 96)))

    done = verify(artifact, golden)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "transformers 4.53.3 DinatForImageClassification float64" in done.stdout + done.stderr

    files = {name: golden / name for name in ("config.json", "model.safetensors")}
    cache_with(tmp_path / "home" / "hub", files)
    done = verify(artifact, HUB_ID, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "transformers 4.53.3 DinatForImageClassification float64" in done.stdout + done.stderr
    assert "not the weights that the file was exported from" not in done.stderr

    tensors = load_file(golden / "model.safetensors")
    name = next(name for name in tensors if name.endswith("rpb"))
    tensors[name][0, 0, 0] += 1
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(golden / "config.json", other)
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    done = verify(artifact, other)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "logits" in done.stdout


@pytest.mark.slow
def test_the_lines_in_the_docs_run():
    text = (ROOT / "docs" / "compat.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert "shi-labs/nat-mini-in1k-224" in code
    code = code.replace("shi-labs/nat-mini-in1k-224", str(GOLDEN / "hf_nat")) + "print(type(model).__name__)"
    done = subprocess.run([environment_with("4.53.3"), "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "NatForImageClassification"


@pytest.mark.slow
def test_a_version_without_working_models_is_refused_with_the_reason():
    code = f"""
from natdeploy.errors import NatdeployError
from natdeploy.runners.transformers_runner import TransformersRunner
for directory in {[str(GOLDEN / name) for name in ("hf_nat", "hf_dinat")]!r}:
    try:
        TransformersRunner(directory)
    except NatdeployError as error:
        print(error)
from transformers.utils import is_natten_available
print(is_natten_available())
"""
    done = subprocess.run([environment_with("5.23.0"), "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nat, dinat, natten_available = done.stdout.splitlines()
    assert "Got: it has no NatForImageClassification any more" in nat
    assert "Got: its DiNAT code cannot run: it mixes up the map's axes since 4.54" in dinat
    for message in (nat, dinat):
        assert message.startswith("transformers 5.23.0 cannot be the reference for this checkpoint")
        assert message.endswith(
            "Needed: transformers 4.40 to 4.53. Install one with: pip install 'natdeploy[transformers]'"
        )
    assert natten_available == "True"
