"""random:VARIANT[@seed]: deterministic, cheap, and every weight matters."""

import pytest
import torch

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.errors import NatdeployError
from natdeploy.models import model_from_weights
from natdeploy.models.probes import Recorder
from natdeploy.models.variants import VARIANTS
from natdeploy.preprocessing import Preprocessing


def test_what_it_gives():
    checkpoint = weights_from_checkpoint("random:dinat_s_tiny@3")
    assert checkpoint.config == VARIANTS["dinat_s_tiny"].config
    assert (checkpoint.variant, checkpoint.source, checkpoint.labels) == ("dinat_s_tiny", "random:dinat_s_tiny@3", ())
    assert checkpoint.preprocessing == Preprocessing.of_imagenet(224)
    assert {t.dtype for t in checkpoint.tensors.values()} == {torch.float32}


def test_same_seed_same_weights_and_other_seed_others():
    first = weights_from_checkpoint("random:nat_mini")
    assert first.sha256 == weights_from_checkpoint("random:nat_mini@0").sha256
    second = weights_from_checkpoint("random:nat_mini@1")
    assert all(not torch.equal(second.tensors[name], tensor) for name, tensor in first.tensors.items())


def test_values_are_the_same_on_every_machine():
    tensors = weights_from_checkpoint("random:nat_mini").tensors
    for name, place, expected in (
        ("stages.1.blocks.0.attention.rpb", (2, 3, slice(4, 7)), [-0.3083036, 0.4109868, -0.7383072]),
        ("head.weight", (7, slice(5, 8)), [-0.0758296, 0.0170149, 0.0738687]),
    ):
        torch.testing.assert_close(tensors[name][place], torch.tensor(expected), rtol=0, atol=1e-6)


def test_every_kind_of_weight_is_large_enough_to_matter():
    tensors = weights_from_checkpoint("random:nat_small").tensors
    for name, tensor in tensors.items():
        if name.endswith("rpb"):
            assert 0.4 < tensor.std() < 0.6, name
        elif name.endswith("norm.weight"):
            assert 0.1 < (tensor - 1).abs().mean() < 0.4, name
        elif name.endswith("_scale"):
            assert 0.5 < tensor.abs().mean() < 1.2, name
        elif name.endswith("bias"):
            assert 0.05 < tensor.std() < 0.15, name
        else:
            fan_in = tensor[0].numel()
            assert 0.9 < tensor.std() * fan_in**0.5 < 1.1, name


@pytest.mark.parametrize("name", ["nat_tiny", "dinat_small", "dinat_s_tiny"])
def test_activations_stay_of_order_one_through_all_depth(name):
    checkpoint = weights_from_checkpoint(f"random:{name}@7")
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 3, 4, 5, generator=generator)
    pixel_values = torch.nn.functional.interpolate(coarse, (64, 80), mode="bilinear")
    recorder = Recorder()
    logits = model_from_weights(checkpoint.config, checkpoint.tensors)(pixel_values, ["logits"], recorder)["logits"]
    assert 0.5 < logits.std() < 2
    assert (logits[0] - logits[1]).std() > 0.2 * logits.std()  # they depend on the image, not on biases alone
    spread = {probe: float(tensor.std()) for probe, tensor in recorder.tensors.items() if probe.endswith("output")}
    assert len(spread) == sum(checkpoint.config.depths)
    assert all(0.5 < value < 20 for value in spread.values()), spread


@pytest.mark.parametrize(
    "text", ["random:nat_mini@x", "random:nat_mini@-1", "random:nat_mini@1.5", "random:nat_mini@²"]
)
def test_seed_must_be_a_natural_number(text):
    with pytest.raises(NatdeployError, match="has no valid seed") as error:
        weights_from_checkpoint(text)
    assert error.value.got == text.partition("@")[2]


def test_unknown_variant_suggests_close_ones():
    with pytest.raises(NatdeployError, match="Did you mean") as error:
        weights_from_checkpoint("random:dinat_smal")
    assert "dinat_small" in error.value.next_step


def test_large_variant_takes_little_more_than_its_weights():
    import tracemalloc

    tracemalloc.start()  # numpy reports what it allocates, and the weights are made by numpy
    checkpoint = weights_from_checkpoint("random:dinat_large")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = sum(t.numel() * 4 for t in checkpoint.tensors.values())
    assert size > 800e6
    assert peak < 1.1 * size
