"""The outputs of the original implementations, reproduced in PyTorch (tests/data/golden/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.models import model_from_weights

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
DIRECTORIES = sorted(path.parent.name for path in GOLDEN.glob("*/io.npz"))

# Largest error over the standard deviation of the recorded output. The recordings are float32, so that float64 does
# not come closer; measured worst case 4.1e-6 in either precision (hf_nat, reshaped_hidden_states.4).
TOLERANCE = 2e-5


def our_name(recorded):
    for theirs, ours in {"hidden_": "hidden_states.", "reshaped_hidden_": "reshaped_hidden_states."}.items():
        if recorded.startswith(theirs):
            return recorded.replace(theirs, ours)
    return recorded


def test_golden_data_is_there():
    assert len(DIRECTORIES) == 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("directory", DIRECTORIES)
def test_recorded_outputs_are_reproduced(directory, dtype):
    recorded = dict(np.load(GOLDEN / directory / "io.npz"))
    pixel_values = torch.from_numpy(recorded.pop("pixel_values")).to(dtype)
    checkpoint = weights_from_checkpoint(GOLDEN / directory)
    model = model_from_weights(checkpoint.config, checkpoint.tensors).to(dtype)
    outputs = model(pixel_values, [our_name(name) for name in recorded])
    assert recorded
    for name, expected in recorded.items():
        found = outputs[our_name(name)]
        assert found.dtype == dtype
        assert found.shape == expected.shape
        assert np.abs(found.numpy() - expected).max() <= TOLERANCE * expected.std(), name


@pytest.mark.parametrize("directory", ["hf_nat", "hf_dinat_backbone", "shi_isotropic"])
def test_plain_call_gives_the_recorded_default_outputs(directory):
    recorded = dict(np.load(GOLDEN / directory / "io.npz"))
    checkpoint = weights_from_checkpoint(GOLDEN / directory)
    outputs = model_from_weights(checkpoint.config, checkpoint.tensors)(torch.from_numpy(recorded["pixel_values"]))
    assert set(outputs) == {name for name in recorded if name.startswith(("logits", "feature_maps."))}


def test_one_changed_weight_is_noticed():
    recorded = np.load(GOLDEN / "hf_nat" / "io.npz")
    checkpoint = weights_from_checkpoint(GOLDEN / "hf_nat")
    tensors = dict(checkpoint.tensors)
    name = "stages.2.blocks.1.attention.rpb"
    tensors[name] = tensors[name].flip(-1)
    outputs = model_from_weights(checkpoint.config, tensors)(torch.from_numpy(recorded["pixel_values"]))
    assert np.abs(outputs["logits"].numpy() - recorded["logits"]).max() > 1e-3 * recorded["logits"].std()
