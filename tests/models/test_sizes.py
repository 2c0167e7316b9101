"""Odd, non-square and small images, every layout, against the same models written plainly (plain.py)."""

from dataclasses import replace

import pytest
import torch
from models import plain

from natdeploy.checkpoints.matching import expected_tensors
from natdeploy.checkpoints.random_weights import random_tensors
from natdeploy.models import ModelConfig, model_from_weights

NAT = ModelConfig(
    "dinat", "nat", 8, (1, 2, 1), (1, 2, 4), ((2,), (1, 2), (1,)), kernel_size=5, mlp_ratio=2.0, num_labels=7
)
SWIN = replace(NAT, family="dinat_s", layout="swin", kernel_size=3)
ISOTROPIC = ModelConfig(
    "dinat_isotropic",
    "isotropic",
    12,
    (3,),
    (3,),
    ((1, 2, 1),),
    kernel_size=4,
    num_labels=7,
    image_size=64,
    patch_size=8,
)

# Maps of the last NAT stage at these sizes are 3x4, 4x2, 2x2, 3x6 and 3x4: each smaller than its window on some axis.
# At 41x62 patches and their merging pad height and width by different amounts.
SIZES = [(41, 57), (64, 32), (32, 32), (47, 95), (41, 62)]


def largest_difference(config, size, names):
    tensors = random_tensors(expected_tensors(config), seed=sum(size))
    pixel_values = torch.rand(2, config.num_channels, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = plain.outputs(config, tensors, pixel_values)
    model = model_from_weights(config, tensors).double()
    found = model(pixel_values.double(), names)
    assert list(found) == list(names)
    for name in names:
        assert found[name].shape == expected[name].shape
    return max(float((found[name] - expected[name]).abs().max() / expected[name].std()) for name in names)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"h{s[0]}-w{s[1]}")
@pytest.mark.parametrize("config", [NAT, SWIN], ids=lambda c: c.layout)
def test_every_size_gives_what_the_plain_model_gives(config, size):
    names = ["logits", "pooled", *(f"hidden_states.{n}" for n in range(4))]
    assert largest_difference(config, size, names) < 1e-10


@pytest.mark.parametrize(
    "changes",
    [
        {"layer_scale": True},
        {"qkv_bias": False},
        {"kernel_size": 4},  # even: the window reaches one further to the left
        {"layer_norm_eps": 0.1},
        {"num_channels": 1},
        {"mlp_ratio": 1.3},  # hidden width truncated
    ],
    ids=str,
)
def test_options_mean_what_they_say(changes):
    assert largest_difference(replace(NAT, **changes), (41, 57), ["logits"]) < 1e-10


def test_isotropic_model_gives_what_the_plain_model_gives():
    assert largest_difference(ISOTROPIC, (64, 64), ["logits", "pooled", "hidden_states.1"]) < 1e-10


def test_feature_maps_are_taken_before_downsampling_through_their_own_norm():
    # Their norms have PyTorch's epsilon whatever the blocks have, as in Hugging Face's backbones.
    config = replace(NAT, feature_norms=("stem", "stage1", "stage3"), layer_norm_eps=0.1)
    tensors = random_tensors(expected_tensors(config), seed=3)
    pixel_values = torch.rand(1, 3, 41, 57, generator=torch.Generator().manual_seed(1))
    expected = plain.outputs(config, tensors, pixel_values)
    names = [f"feature_maps.{name}" for name in config.feature_norms]
    found = model_from_weights(config, tensors).double()(pixel_values.double(), names)
    for name in config.feature_norms:
        x = expected["hidden_states.0" if name == "stem" else f"before_downsampling.{name[-1]}"]
        weights = {key: value.double() for key, value in tensors.items()}
        normed = plain.norm(x, weights, f"feature_norms.{name}").permute(0, 3, 1, 2)
        torch.testing.assert_close(found[f"feature_maps.{name}"], normed, rtol=0, atol=1e-10)


def test_single_and_double_precision_agree():
    tensors = random_tensors(expected_tensors(NAT), seed=5)
    pixel_values = torch.rand(2, 3, 47, 95, generator=torch.Generator().manual_seed(2))
    single = model_from_weights(NAT, tensors)(pixel_values)["logits"]
    double = model_from_weights(NAT, tensors).double()(pixel_values.double())["logits"]
    assert float((single - double).abs().max() / double.std()) < 1e-5
