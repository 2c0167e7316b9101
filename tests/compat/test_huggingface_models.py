"""Hugging Face's own models through compat: they give the golden data again, and the same as our models.

Runs where transformers has these models; elsewhere, ``test_huggingface_versions.py`` runs this file beside it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.compat import install, natten_has_the_functions
from natdeploy.errors import NatdeployError
from natdeploy.models.outputs import available_outputs
from natdeploy.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from natdeploy.runners.normalising_runner import NormalisingRunner
from natdeploy.runners.torch_runner import TorchRunner
from natdeploy.runners.transformers_runner import TransformersRunner

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra 'transformers')")
if not hasattr(transformers, "NatForImageClassification"):
    pytest.skip(f"transformers {transformers.__version__} has no NAT any more", allow_module_level=True)

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TINY = {"embed_dim": 12, "depths": [2, 1, 2], "num_heads": [2, 3, 4], "kernel_size": 3, "mlp_ratio": 1.5}


def our_name(golden_name: str) -> str:
    name = golden_name.replace("reshaped_hidden_", "reshaped_hidden_states.")
    return "hidden_states." + name.removeprefix("hidden_") if name.startswith("hidden_") else name


def randomised(model: Any, seed: int) -> Any:
    """Replace every parameter by values large enough to matter: bias tables, layer scales and norms included."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name and name.endswith("weight")
        spread = 1.0 if name.endswith("rpb") else 0.3
        parameter.data = 1 + 0.3 * noise if is_norm else spread * noise
    return model


def saved(directory: Path, architecture: str, seed: int = 0, **config: Any) -> Path:
    """Write a Hugging Face directory with random weights."""
    if not natten_has_the_functions():
        install()
    kind = "Nat" if architecture.startswith("Nat") else "Dinat"
    model = getattr(transformers, architecture)(getattr(transformers, f"{kind}Config")(**config))
    randomised(model, seed).save_pretrained(directory)
    return directory


def noise(seed: int, *shape: int) -> dict[str, np.ndarray]:
    return {"pixel_values": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def assert_agrees_with_our_model(directory: Path, inputs: dict[str, np.ndarray]):
    checkpoint = weights_from_checkpoint(directory)
    outputs = available_outputs(checkpoint.config)
    theirs, ours = TransformersRunner(directory, outputs), TorchRunner(checkpoint, outputs)
    found, expected = ours.run(inputs), theirs.run(inputs)
    assert list(found) == list(expected) == list(outputs)
    for name in outputs:
        assert expected[name].dtype == np.float64
        # Both compute in float64; 1e-11 is a thousand times what was seen.
        np.testing.assert_allclose(found[name], expected[name], atol=1e-11 * np.abs(expected[name]).max(), rtol=0)


@pytest.mark.parametrize("name", ["hf_nat", "hf_dinat", "hf_nat_backbone", "hf_dinat_backbone"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gives_the_golden_data_again(name: str, dtype: str):
    golden = np.load(GOLDEN / name / "io.npz")
    names = [key for key in golden.files if key != "pixel_values"]
    runner = TransformersRunner(GOLDEN / name, [our_name(key) for key in names], dtype)
    found = runner.run({"pixel_values": golden["pixel_values"]})
    for key in names:
        np.testing.assert_allclose(found[our_name(key)], golden[key], atol=1e-5 * golden[key].std(), rtol=0)


@pytest.mark.parametrize("name", ["hf_nat", "hf_dinat", "hf_nat_backbone", "hf_dinat_backbone"])
def test_golden_checkpoints_agree_with_our_model_at_another_size(name: str):
    assert_agrees_with_our_model(GOLDEN / name, noise(1, 2, 3, 53, 70))


@pytest.mark.parametrize(
    ("architecture", "config", "size"),
    [
        ("NatForImageClassification", {"hidden_act": "gelu_new"}, (64, 96)),
        ("NatForImageClassification", {"hidden_act": "quick_gelu", "num_channels": 1, "num_labels": 3}, (61, 47)),
        ("NatForImageClassification", {"qkv_bias": False, "hidden_act": "silu", "layer_norm_eps": 1e-3}, (64, 50)),
        ("DinatForImageClassification", {"layer_scale_init_value": 0.5, "hidden_act": "relu"}, (56, 72)),
        ("DinatForImageClassification", {"qkv_bias": False, "layer_scale_init_value": 1e-5}, (49, 75)),
        ("NatForImageClassification", {"kernel_size": 13}, (33, 46)),  # every stage is smaller than the window
        ("DinatForImageClassification", {"kernel_size": 5}, (40, 77)),  # some are, and one axis only
        ("NatBackbone", {"out_features": ["stem", "stage2"]}, (45, 64)),
        ("DinatBackbone", {"out_indices": [1, 3], "layer_scale_init_value": 0.1}, (64, 37)),
        ("NatModel", {}, (40, 52)),
    ],
    ids=str,
)
def test_random_checkpoints_agree_with_our_model(tmp_path: Path, architecture: str, config: dict, size: tuple):
    extra = {"dilations": [[1, 3], [2], [1, 2]]} if architecture.startswith("Dinat") else {}
    directory = saved(tmp_path, architecture, seed=len(str(config)), **(TINY | extra | config))
    assert_agrees_with_our_model(directory, noise(2, 2, config.get("num_channels", 3), *size))


def test_pickled_weights_and_a_config_without_architectures_do(tmp_path: Path):
    directory = saved(tmp_path, "DinatBackbone", **TINY, dilations=[[1, 2], [1], [2, 1]], out_features=["stage1"])
    tensors = weights_from_checkpoint(directory).tensors
    assert "feature_norms.stage1.weight" in tensors
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "architectures"}))
    model = transformers.DinatBackbone.from_pretrained(directory)
    (directory / "model.safetensors").unlink()
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    assert_agrees_with_our_model(directory, noise(3, 1, 3, 41, 60))


def test_weights_that_do_not_fit_the_class_are_refused_not_filled_in(tmp_path: Path):
    directory = saved(tmp_path, "NatModel", **TINY)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"architectures": ["NatForImageClassification"]}))
    with pytest.raises(NatdeployError, match=r"do not fit NatForImageClassification.*missing_keys.*classifier\.weight"):
        TransformersRunner(directory, ["pooled"])


def test_pixels_are_normalised_for_both_references():
    checkpoint = weights_from_checkpoint(GOLDEN / "hf_nat")
    pixels = np.random.default_rng(4).integers(0, 256, (2, 53, 70, 3), np.uint8)
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (IMAGENET_MEAN, IMAGENET_STD))
    by_hand = (pixels.transpose(0, 3, 1, 2) / 255 - mean) / std
    for runner in (TransformersRunner(GOLDEN / "hf_nat", ["logits"]), TorchRunner(checkpoint, ["logits"])):
        expected = runner.run({"pixel_values": by_hand})["logits"]
        found = NormalisingRunner(runner, checkpoint.preprocessing).run({"pixel_values": pixels})["logits"]
        np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max(), rtol=0)


def test_the_report_says_what_ran():
    runner = TransformersRunner(GOLDEN / "hf_nat", ["pooled", "hidden_states.2"], "float32")
    assert runner.name == f"transformers {transformers.__version__} NatForImageClassification float32"
    assert [spec.name for spec in runner.outputs] == ["pooled", "hidden_states.2"]
    assert runner.probes == () and runner.size_limits is None
    assert runner.environment()["transformers"] == transformers.__version__
    assert runner.environment()["natten"] in ("installed", "natdeploy.compat")


def test_unknown_outputs_and_probes_are_refused():
    with pytest.raises(NatdeployError, match=r"feature_maps\.stage1"):
        TransformersRunner(GOLDEN / "hf_nat", ["feature_maps.stage1"])
    runner = TransformersRunner(GOLDEN / "hf_nat")
    inputs = noise(0, 1, 3, 64, 48)
    with pytest.raises(NatdeployError, match=r"no inner tensors named stage1\.block1\.qkv"):
        runner.run(inputs, ["stage1.block1.qkv"])
    with pytest.raises(NatdeployError, match="float16"):
        runner.run({"pixel_values": inputs["pixel_values"].astype(np.float16)})


def test_install_may_come_after_the_modeling_code():
    code = f"""
import torch, transformers
import transformers.models.dinat.modeling_dinat
import natdeploy.compat
if not natdeploy.compat.natten_has_the_functions():
    natdeploy.compat.install()
model = transformers.DinatForImageClassification.from_pretrained({str(GOLDEN / "hf_dinat")!r})
print(tuple(model(torch.zeros(1, 3, 64, 48)).logits.shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels = weights_from_checkpoint(GOLDEN / "hf_dinat").config.num_labels
    assert done.stdout.strip() == f"(1, {labels})"
