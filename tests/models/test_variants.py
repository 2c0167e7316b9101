"""Published variants: configurations and sizes, against the published tables."""

import pytest
import torch

from natdeploy.errors import NatdeployError
from natdeploy.models.hierarchical import NeighborhoodAttentionTransformer
from natdeploy.models.variants import VARIANTS, variant_named

# classification/{nat,dinat,dinats,isotropic}.py at d334f5bb: depths, heads, channels, MLP ratio, layer scale, kernel,
# largest dilation per stage, image size.
NAT_M, NAT_T, S_T, S_S = (3, 4, 6, 5), (3, 4, 18, 5), (2, 2, 6, 2), (2, 2, 18, 2)
HEADS = {64: (2, 4, 8, 16), 96: (3, 6, 12, 24), 128: (4, 8, 16, 32), 192: (6, 12, 24, 48)}
NONE, AT_224, AT_384 = (1, 1, 1, 1), (8, 4, 2, 1), (13, 6, 3, 1)
TABLE = {
    "nat_mini": (NAT_M, 64, 3, False, 7, NONE, 224),
    "nat_tiny": (NAT_T, 64, 3, False, 7, NONE, 224),
    "nat_small": (NAT_T, 96, 2, True, 7, NONE, 224),
    "nat_base": (NAT_T, 128, 2, True, 7, NONE, 224),
    "dinat_mini": (NAT_M, 64, 3, False, 7, AT_224, 224),
    "dinat_tiny": (NAT_T, 64, 3, False, 7, AT_224, 224),
    "dinat_small": (NAT_T, 96, 2, False, 7, AT_224, 224),
    "dinat_base": (NAT_T, 128, 2, True, 7, AT_224, 224),
    "dinat_large": (NAT_T, 192, 2, False, 7, AT_224, 224),
    "dinat_large_21k": (NAT_T, 192, 2, False, 7, AT_224, 224),
    "dinat_large_384": (NAT_T, 192, 2, False, 7, AT_384, 384),
    "dinat_large_384_11x11": (NAT_T, 192, 2, False, 11, AT_224, 384),
    "dinat_large_21k_11x11": (NAT_T, 192, 2, False, 11, AT_224, 224),
    "dinat_s_tiny": (S_T, 96, 4, False, 7, AT_224, 224),
    "dinat_s_small": (S_S, 96, 4, False, 7, AT_224, 224),
    "dinat_s_base": (S_S, 128, 4, False, 7, AT_224, 224),
    "dinat_s_large": (S_S, 192, 4, False, 7, AT_224, 224),
    "dinat_s_large_21k": (S_S, 192, 4, False, 7, AT_224, 224),
    "dinat_s_large_384": (S_S, 192, 4, False, 7, AT_384, 384),
}
ISOTROPIC = {  # channels, heads, kernel (None: the whole 14x14 map), dilation of every other block
    "nat_isotropic_small": (384, 12, 7, 1),
    "nat_isotropic_base": (768, 24, 7, 1),
    "dinat_isotropic_small": (384, 12, 7, 2),
    "dinat_isotropic_base": (768, 24, 7, 2),
    "vitrpb_small": (384, 12, None, 1),
    "vitrpb_base": (768, 24, None, 1),
}


def parameters(name):
    with torch.device("meta"):  # shapes alone: nothing is allocated
        model = NeighborhoodAttentionTransformer(VARIANTS[name].config)
    assert all(parameter.is_meta for parameter in model.parameters())
    return sum(parameter.numel() for parameter in model.parameters())


def parameters_by_hand(name):
    """Count the parameters of a NAT-layout variant from the paper's description."""
    depths, dim, ratio, scale, kernel, _, _ = TABLE[name]
    total = (27 * dim // 2 + dim // 2) + (9 * dim // 2 * dim + dim) + 2 * dim  # two convolutions and a norm
    for stage, depth in enumerate(depths):
        heads, wide = dim // 32, dim * 2**stage
        attention = 3 * wide * wide + 3 * wide + wide * wide + wide + heads * 2**stage * (2 * kernel - 1) ** 2
        mlp = 2 * ratio * wide * wide + ratio * wide + wide
        total += depth * (attention + mlp + 4 * wide + (2 * wide if scale else 0))
        if stage < 3:
            total += 9 * wide * 2 * wide + 4 * wide  # a convolution without bias and a norm
    features = 8 * dim
    return total + 2 * features + features * VARIANTS[name].config.num_labels + VARIANTS[name].config.num_labels


def test_table_and_variants_name_the_same_models():
    assert set(VARIANTS) == set(TABLE) | set(ISOTROPIC)


@pytest.mark.parametrize("name", TABLE)
def test_hierarchical_variant_is_the_published_one(name):
    depths, dim, ratio, scale, kernel, largest, size = TABLE[name]
    config = VARIANTS[name].config
    assert config.problems() == []
    assert (config.depths, config.embed_dim, config.mlp_ratio, config.kernel_size) == (depths, dim, ratio, kernel)
    assert (config.num_heads, config.layer_scale, config.image_size) == (HEADS[dim], scale, size)
    assert config.layout == ("swin" if "_s_" in name else "nat")
    assert name.startswith(config.family)
    for stage, depth, dilation in zip(config.dilations, depths, largest, strict=True):
        assert stage == tuple(dilation if i % 2 else 1 for i in range(depth))
    assert config.num_labels == (21841 if "21k" in name else 1000)
    assert config.qkv_bias and config.rel_pos_bias and config.hidden_act == "gelu" and config.layer_norm_eps == 1e-5
    assert VARIANTS[name].crop_fraction == (1.0 if size == 384 else 0.875)


@pytest.mark.parametrize("name", ISOTROPIC)
def test_isotropic_variant_is_the_published_one(name):
    dim, heads, kernel, dilation = ISOTROPIC[name]
    config = VARIANTS[name].config
    assert config.problems() == []
    assert (config.layout, config.depths, config.embed_dim, config.num_heads) == ("isotropic", (12,), dim, (heads,))
    assert (config.patch_size, config.image_size, config.mlp_ratio) == (16, 224, 4.0)
    assert config.kernel_size == (kernel or 14)
    assert config.dilations == ((1, dilation) * 6,)


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.params_m])
def test_parameters_are_as_many_as_published(name):
    # The papers round to a million and, for DiNAT-L (200.9, with kernel 11 201.1) and ViT-RPB-B (86.6), cut.
    published = VARIANTS[name].params_m
    assert abs(parameters(name) / 1e6 - published) <= max(0.5, 0.01 * published)


@pytest.mark.parametrize("name", [name for name in TABLE if VARIANTS[name].config.layout == "nat"])
def test_parameters_are_as_many_as_counted_by_hand(name):
    assert parameters(name) == parameters_by_hand(name)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("nat_mini", 19.98), ("nat_tiny", 27.90), ("nat_small", 50.74), ("nat_base", 89.77), ("dinat_large", 200.94)],
)
def test_exact_sizes(name, millions):
    assert round(parameters(name) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("typed", "meant"), [("nat_minni", "nat_mini"), ("DiNAT-S-Tiny", "dinat_s_tiny"), ("vit_rpb_small", "vitrpb_small")]
)
def test_unknown_variant_suggests_the_one_that_was_meant(typed, meant):
    with pytest.raises(NatdeployError, match="Did you mean") as error:
        variant_named(typed)
    assert meant in error.value.next_step
    assert "dinat_large_384_11x11" in error.value.needed


def test_unknown_variant_without_anything_close_lists_all():
    with pytest.raises(NatdeployError, match="'resnet50' is no published variant") as error:
        variant_named("resnet50")
    assert all(name in error.value.needed for name in VARIANTS)
