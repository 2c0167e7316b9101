"""Names of outputs: which a checkpoint can give, which it gives by default, and why not."""

from dataclasses import replace

import pytest
import torch
from models.test_sizes import NAT

from natdeploy.checkpoints.matching import expected_tensors
from natdeploy.checkpoints.random_weights import random_tensors
from natdeploy.errors import NatdeployError
from natdeploy.models import model_from_weights
from natdeploy.models.outputs import available_outputs, checked_outputs, default_outputs
from natdeploy.models.probes import Recorder

HEADLESS = replace(NAT, num_labels=0)
BACKBONE = replace(HEADLESS, final_norm=False, feature_norms=("stage1", "stage3"))
BARE = replace(HEADLESS, final_norm=False)
HIDDEN = [f"{kind}.{n}" for kind in ("hidden_states", "reshaped_hidden_states") for n in range(4)]


def run(config, outputs=(), probe=None):
    model = model_from_weights(config, random_tensors(expected_tensors(config), seed=0))
    pixel_values = torch.rand(2, 3, 44, 60, generator=torch.Generator().manual_seed(0))
    return model(pixel_values, outputs, *([probe] if probe else []))


@pytest.mark.parametrize(
    ("config", "available", "default"),
    [
        (NAT, ["logits", "pooled"], ["logits"]),
        (HEADLESS, ["pooled"], ["pooled"]),
        (BACKBONE, ["feature_maps.stage1", "feature_maps.stage3"], ["feature_maps.stage1", "feature_maps.stage3"]),
        (BARE, [], ["hidden_states.3"]),
        (replace(NAT, feature_norms=("stem",)), ["logits", "pooled", "feature_maps.stem"], ["logits"]),
    ],
    ids=["classifier", "headless", "backbone", "bare", "both"],
)
def test_available_and_default_outputs(config, available, default):
    assert list(available_outputs(config)) == available + HIDDEN
    assert list(default_outputs(config)) == default
    assert list(run(config)) == default
    assert list(run(config, available_outputs(config))) == available + HIDDEN


def test_shapes():
    config = replace(NAT, feature_norms=("stem", "stage2"))
    shapes = {name: list(x.shape) for name, x in run(config, available_outputs(config)).items()}
    assert shapes == {
        "logits": [2, 7],
        "pooled": [2, 32],
        "feature_maps.stem": [2, 8, 11, 15],
        "feature_maps.stage2": [2, 16, 6, 8],  # before downsampling: hidden_states.2 is after it
        "hidden_states.0": [2, 11, 15, 8],
        "hidden_states.1": [2, 6, 8, 16],
        "hidden_states.2": [2, 3, 4, 32],
        "hidden_states.3": [2, 3, 4, 32],
        "reshaped_hidden_states.0": [2, 8, 11, 15],
        "reshaped_hidden_states.1": [2, 16, 6, 8],
        "reshaped_hidden_states.2": [2, 32, 3, 4],
        "reshaped_hidden_states.3": [2, 32, 3, 4],
    }


def test_outputs_come_in_the_order_asked_for_and_reshaped_means_channels_first():
    found = run(NAT, ["reshaped_hidden_states.1", "logits", "hidden_states.1"])
    assert list(found) == ["reshaped_hidden_states.1", "logits", "hidden_states.1"]
    torch.testing.assert_close(
        found["reshaped_hidden_states.1"], found["hidden_states.1"].permute(0, 3, 1, 2), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("config", "name", "reason"),
    [
        (HEADLESS, "logits", "no classifier"),
        (BARE, "pooled", "no final norm"),
        (NAT, "feature_maps.stage2", "no norm for it"),
        (BACKBONE, "feature_maps.stage2", "reshaped_hidden_states.N"),
        (NAT, "feature_maps.stage9", "is no output"),
        (NAT, "hidden_states.4", "is no output"),
        (NAT, "Logits", "is no output"),
    ],
)
def test_an_output_that_cannot_be_given_is_refused_with_the_reason(config, name, reason):
    with pytest.raises(NatdeployError) as error:
        checked_outputs(config, [name])
    assert name in error.value.got and reason in error.value.got
    assert "hidden_states.0" in error.value.needed


def test_all_problems_with_outputs_are_reported_together():
    with pytest.raises(NatdeployError) as error:
        checked_outputs(HEADLESS, ["logits", "pooled", "pooled", "depth"])
    assert all(part in error.value.got for part in ("'logits'", "'depth'", "'pooled' is asked for twice"))


def test_no_names_mean_the_default():
    assert checked_outputs(BACKBONE, []) == ("feature_maps.stage1", "feature_maps.stage3")


def test_probes_have_the_names_of_the_contract_and_change_nothing():
    recorder = Recorder()
    probed = run(NAT, ["logits"], recorder)["logits"]
    assert torch.equal(probed, run(NAT, ["logits"])["logits"])
    blocks = ["stage1.block1", "stage2.block1", "stage2.block2", "stage3.block1"]
    inner = [f"{block}.{part}" for block in blocks for part in ("qkv", "attention", "mlp", "output")]
    assert set(recorder.tensors) >= {"stem", *inner, "stage1.downsample", "stage2.downsample", "norm", "pooled"}
    assert recorder.tensors["stage2.block1.qkv"].shape == (2, 6, 8, 48)  # the map, with dilation 1
    assert recorder.tensors["stage2.block2.qkv"].shape == (2, 10, 10, 48)  # padded to 5 * dilation 2
    assert recorder.tensors["stage2.block2.attention"].shape == (2, 10, 10, 16)  # cropped only afterwards
    assert recorder.tensors["stage2.block2.output"].shape == (2, 6, 8, 16)


def test_recorder_keeps_only_what_is_wanted():
    recorder = Recorder(wanted=frozenset({"stem", "stage2.block2.mlp"}))
    run(NAT, ["logits"], recorder)
    assert set(recorder.tensors) == {"stem", "stage2.block2.mlp"}
