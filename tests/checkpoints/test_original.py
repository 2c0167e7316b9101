"""The original authors' format: directories with config.json, and bare .pth files of published variants."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints.tiny import GOLDEN, NAT_MINI, NAT_TINY, copy_of, edit_json, original_shapes, weightless
from safetensors.torch import save_file

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.checkpoints.original import canonical_tensors, fitting_variants
from natdeploy.errors import NatdeployError
from natdeploy.models.variants import VARIANTS
from natdeploy.preprocessing import Preprocessing

LARGE = {"dim": 192, "depths": (3, 4, 18, 5), "ratio": 2}
SMALL_ISOTROPIC = {"dim": 384, "depths": (12,), "ratio": 4}
S_TINY = {"dim": 96, "depths": (2, 2, 6, 2), "ratio": 4, "kernel": 7, "layout": "swin"}

# What the published files hold, and the variants that have the same names and shapes.
PUBLISHED = {
    "nat_mini": (NAT_MINI, ["nat_mini", "dinat_mini"]),
    "dinat_tiny": (NAT_TINY, ["nat_tiny", "dinat_tiny"]),
    "nat_small": ({"dim": 96, "depths": (3, 4, 18, 5), "ratio": 2, "kernel": 7, "scale": True}, ["nat_small"]),
    "dinat_small": ({"dim": 96, "depths": (3, 4, 18, 5), "ratio": 2, "kernel": 7}, ["dinat_small"]),
    "dinat_base": (
        {"dim": 128, "depths": (3, 4, 18, 5), "ratio": 2, "kernel": 7, "scale": True},
        ["nat_base", "dinat_base"],
    ),
    "dinat_large_384": ({**LARGE, "kernel": 7}, ["dinat_large", "dinat_large_384", "dinat_large_21k"]),
    "dinat_large_21k": (
        {**LARGE, "kernel": 7, "classes": 21841},
        ["dinat_large_21k", "dinat_large", "dinat_large_384"],
    ),
    "dinat_large_384_11x11": ({**LARGE, "kernel": 11}, ["dinat_large_384_11x11", "dinat_large_21k_11x11"]),
    "dinat_s_tiny": (S_TINY, ["dinat_s_tiny"]),
    "dinat_isotropic_small": (
        {**SMALL_ISOTROPIC, "kernel": 7, "layout": "isotropic"},
        ["nat_isotropic_small", "dinat_isotropic_small"],
    ),
    "vitrpb_small": ({**SMALL_ISOTROPIC, "kernel": 14, "layout": "vitrpb"}, ["vitrpb_small"]),
}


def bias_positions(side=14):
    """ViT-RPB's buffer, as isotropic.py computes it: Swin's, flipped up-down and left-right."""
    at = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    relative = at[:, None] - at[None, :] + side - 1
    return (relative[..., 0] * (2 * side - 1) + relative[..., 1]).flip(0, 1)


@pytest.fixture
def pth(tmp_path):
    def save(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_file_is_read_with_its_variant(name, pth):
    shapes, fitting = PUBLISHED[name]
    stored = weightless(original_shapes(**shapes))
    if name.startswith("vitrpb"):
        stored |= {f"layers.{n}.attn.relative_position_index": bias_positions() for n in range(12)}
    checkpoint = weights_from_checkpoint(pth(stored), variant=name)
    published = VARIANTS[name]
    assert checkpoint.config == replace(published.config, num_labels=shapes.get("classes", 1000))
    assert checkpoint.variant == name
    assert checkpoint.labels == ()
    size = published.config.image_size
    assert checkpoint.preprocessing == Preprocessing.of_imagenet(size, published.crop_fraction)
    assert checkpoint.preprocessing.resize_edge == {224: 256, 384: 384}[size]
    assert list(fitting_variants(checkpoint.tensors)) == fitting


@pytest.mark.parametrize("name", ["dinat_tiny", "dinat_large_384", "dinat_s_tiny", "vitrpb_small"])
def test_without_a_variant_the_error_lists_those_that_fit(name, pth):
    shapes, fitting = PUBLISHED[name]
    with pytest.raises(NatdeployError, match=r"weights\.pth.*does not say which model") as error:
        weights_from_checkpoint(pth(weightless(original_shapes(**shapes))))
    assert error.value.next_step == "These variants fit: " + ", ".join(f"--variant {v}" for v in fitting)


def test_wrong_variant_names_what_differs_and_what_fits(pth):
    path = pth(weightless(original_shapes(**NAT_MINI)))
    with pytest.raises(NatdeployError, match="are not those of nat_tiny") as error:
        weights_from_checkpoint(path, variant="nat_tiny")
    assert "156 missing: stages.2.blocks.10.attention" in error.value.got  # 12 blocks of 13 tensors
    assert error.value.next_step == "These variants fit: --variant nat_mini, --variant dinat_mini"


def test_wrong_variant_of_equal_names_reports_shapes(pth):
    path = pth(weightless(original_shapes(**LARGE, kernel=11)))
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(path, variant="dinat_large")
    assert "attention.rpb is [6, 21, 21] instead of [6, 13, 13]" in error.value.got
    assert "dinat_large_384_11x11" in error.value.next_step


def test_weights_of_no_published_variant_ask_for_a_config(pth):
    with pytest.raises(NatdeployError, match="No published variant has these tensors") as error:
        weights_from_checkpoint(pth(weightless(original_shapes(32, (1, 1, 2, 1), 2, 5))))
    assert all(family in error.value.next_step for family in ("NAT", "DiNAT_s", "NATIsotropic", "config.json"))


def test_fine_tuned_head_and_grey_images_are_read_off_the_weights(pth):
    path = pth(weightless(original_shapes(**NAT_MINI, classes=37, channels=1)))
    checkpoint = weights_from_checkpoint(path, variant="dinat_mini")
    assert (checkpoint.config.num_labels, checkpoint.config.num_channels) == (37, 1)
    assert checkpoint.preprocessing.channel_order == "L"


def test_a_missing_head_leaves_a_feature_extractor_but_a_missing_norm_is_an_error(pth):
    shapes = original_shapes(**NAT_MINI)
    headless = {name: shape for name, shape in shapes.items() if not name.startswith("head.")}
    checkpoint = weights_from_checkpoint(pth(weightless(headless)), variant="nat_mini")
    assert (checkpoint.config.num_labels, checkpoint.config.final_norm) == (0, True)
    normless = {name: shape for name, shape in shapes.items() if not name.startswith("norm.")}
    with pytest.raises(NatdeployError, match=r"2 missing: norm\.bias, norm\.weight"):
        weights_from_checkpoint(pth(weightless(normless)), variant="nat_mini")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"state_dict": w, "epoch": 3, "args": argparse.Namespace(lr=0.1), "metric": np.float64(81.8)},
        lambda w: {"model": w, "optimizer": {"state": {}}, "steps": np.int64(7), "best": np.float32(1.5)},
        lambda w: {"model": {"state_dict": w}},
        lambda w: {f"module.{name}": t for name, t in w.items()},
        lambda w: {"state_dict": {f"module._orig_mod.{name}": t for name, t in w.items()}},
        lambda w: {name: t.half() for name, t in w.items()},
    ],
    ids=["timm", "model", "twice", "data-parallel", "compiled", "half"],
)
def test_wrapped_weights_are_found(wrap, pth):
    bare = weights_from_checkpoint(pth(weightless(original_shapes(**NAT_MINI))), variant="nat_mini")
    wrapped = weights_from_checkpoint(pth(wrap(weightless(original_shapes(**NAT_MINI)))), variant="nat_mini")
    assert wrapped.config == bare.config
    for name, tensor in bare.tensors.items():
        assert wrapped.tensors[name].dtype == torch.float32
        torch.testing.assert_close(wrapped.tensors[name], tensor, rtol=1e-3, atol=1e-3)


def test_names_are_translated_one_by_one(pth):
    stored = {name: torch.full((), float(i)) for i, name in enumerate(original_shapes(**NAT_MINI, scale=True))}
    ours = canonical_tensors(stored, "x")
    assert len(ours) == len(stored)
    for theirs, mine in {
        "patch_embed.proj.1.bias": "stem.projection.1.bias",
        "levels.2.blocks.5.attn.qkv.weight": "stages.2.blocks.5.attention.qkv.weight",
        "levels.0.blocks.2.norm2.weight": "stages.0.blocks.2.mlp_norm.weight",
        "levels.1.blocks.0.gamma1": "stages.1.blocks.0.attention_scale",
        "levels.1.blocks.0.mlp.fc2.bias": "stages.1.blocks.0.mlp.2.bias",
        "levels.1.downsample.norm.bias": "stages.1.downsample.norm.bias",
        "norm.bias": "norm.bias",
    }.items():
        assert ours[mine] is stored[theirs]


def test_index_buffer_that_says_something_else_is_not_dropped(pth):
    shapes, _ = PUBLISHED["vitrpb_small"]
    stored = weightless(original_shapes(**shapes)) | {"layers.3.attn.relative_position_index": bias_positions().T}
    with pytest.raises(NatdeployError, match=r"1 unexpected: stages\.0\.blocks\.3\.attention\.relative_position_index"):
        weights_from_checkpoint(pth(stored), variant="vitrpb_small")


@pytest.mark.parametrize(
    "extra", ["layers.0.blocks.1.attn_mask", "layers.0.blocks.0.attn.relative_position_bias_table"]
)
def test_swin_checkpoint_is_named_as_such(extra, pth):
    stored = weightless(original_shapes(**S_TINY)) | {extra: torch.zeros(3)}
    with pytest.raises(NatdeployError, match="is a Swin Transformer checkpoint"):
        weights_from_checkpoint(pth(stored), variant="dinat_s_tiny")


def test_hugging_face_weights_alone_ask_for_their_directory():
    with pytest.raises(NatdeployError, match="Hugging Face's tensor names") as error:
        weights_from_checkpoint(GOLDEN / "hf_nat" / "model.safetensors", variant="nat_mini")
    assert "directory" in error.value.next_step


# Directories


@pytest.mark.parametrize(
    ("golden", "family", "layout", "scale"),
    [
        ("shi_nat", "nat", "nat", True),
        ("shi_dinat", "dinat", "nat", False),
        ("shi_dinat_s", "dinat_s", "swin", False),
        ("shi_isotropic", "dinat_isotropic", "isotropic", False),
    ],
)
def test_directory_gives_the_configuration_it_describes(golden, family, layout, scale):
    checkpoint = weights_from_checkpoint(GOLDEN / golden)
    config, arguments = checkpoint.config, json.loads((GOLDEN / golden / "config.json").read_text())
    assert (config.family, config.layout, config.layer_scale, config.num_labels) == (family, layout, scale, 10)
    assert (config.embed_dim, config.kernel_size) == (arguments["embed_dim"], arguments["kernel_size"])
    if layout == "isotropic":
        assert (config.depths, config.dilations, config.image_size) == ((4,), ((1, 2, 1, 2),), 64)
        assert checkpoint.preprocessing.crop_size == (64, 64)
    else:
        dilations = arguments.get("dilations") or [[1] * depth for depth in arguments["depths"]]
        assert config.dilations == tuple(map(tuple, dilations))
    assert checkpoint.variant is None and checkpoint.source == golden


def test_dilations_null_mean_one(tmp_path):
    directory = copy_of("shi_dinat", tmp_path)
    edit_json(directory / "config.json", dilations=None)
    checkpoint = weights_from_checkpoint(directory)
    assert checkpoint.config.dilations == ((1,), (1,), (1, 1), (1,))
    assert checkpoint.config.family == "dinat"


@pytest.mark.parametrize(
    ("family", "variant", "changes"),
    [
        ("DiNAT_s", "dinat_s_tiny", {"dilations": ((1, 1), (1, 1), (1,) * 6, (1, 1))}),  # none, unless they are given
        ("NATIsotropic", "dinat_isotropic_small", {}),
    ],
)
def test_arguments_that_equal_the_default_may_be_missing(family, variant, changes, pth):
    path = pth(weightless(original_shapes(**PUBLISHED[variant][0])), "model.pth")
    edit_json(path.with_name("config.json"), family=family)
    assert weights_from_checkpoint(path.parent).config == replace(VARIANTS[variant].config, **changes)


def test_layer_scale_of_zero_is_one(tmp_path):
    directory = copy_of("shi_nat", tmp_path)  # has layer scales; nat.py asks for the argument's type alone
    edit_json(directory / "config.json", layer_scale=0)
    assert weights_from_checkpoint(directory).config.layer_scale
    edit_json(directory / "config.json", layer_scale=True)
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(directory)
    assert "10 unexpected: stages.0.blocks.0.attention_scale" in error.value.got


def test_other_single_file_of_weights_is_found_and_labels_are_read(tmp_path):
    directory = copy_of("shi_nat", tmp_path)
    save_file(torch.load(directory / "model.pth"), directory / "nat.safetensors")
    (directory / "model.pth").unlink()
    edit_json(directory / "config.json", id2label={str(n): f"class {n}" for n in range(10)})
    checkpoint = weights_from_checkpoint(directory)
    assert checkpoint.sha256 == weights_from_checkpoint(GOLDEN / "shi_nat").sha256
    assert checkpoint.labels[9] == "class 9"


def test_several_files_of_weights_are_ambiguous_and_none_is_too_few(tmp_path):
    directory = copy_of("shi_nat", tmp_path)
    (directory / "model.pth").rename(directory / "a.pth")
    (directory / "b.pth").write_bytes(b"")
    with pytest.raises(NatdeployError, match="several files of weights") as error:
        weights_from_checkpoint(directory)
    assert "a.pth, b.pth" in error.value.got
    for name in ("a.pth", "b.pth"):
        (directory / name).unlink()
    with pytest.raises(NatdeployError, match="no file of weights"):
        weights_from_checkpoint(directory)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"qk_scale": 0.2}, "qk_scale is 0.2"),
        ({"depths": [1, 1, "2", 1]}, "depths is [1, 1, '2', 1]"),
        ({"embed_dim": 0}, "embed_dim is 0"),
        ({"kernel_size": True}, "kernel_size is True"),
        ({"mlp_ratio": "wide"}, "mlp_ratio is 'wide'"),
        ({"dilation": 2}, "dilation is 2"),
        ({"dilations": [2, 2]}, "dilations is [2, 2]"),
        ({"num_heads": None}, "num_heads is None"),
        ({"depths": [1, 10**9, 1, 1]}, "depths is [1, 1000000000, 1, 1]"),
        ({"embed_dim": 10**30}, "embed_dim is 1000"),
        ({"norm_layer": "BatchNorm"}, "norm_layer is 'BatchNorm'"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(changes, reason, tmp_path):
    directory = copy_of("shi_dinat", tmp_path)
    edit_json(directory / "config.json", **changes)
    with pytest.raises(NatdeployError, match=r"config\.json of shi_dinat describes no model") as error:
        weights_from_checkpoint(directory)
    assert reason in error.value.got


def test_all_wrong_arguments_are_reported_together(tmp_path):
    directory = copy_of("shi_isotropic", tmp_path)
    edit_json(directory / "config.json", remove=["img_size"], patch_size=9, depth=-1, dilations=[[1]], patch_norm=False)
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(directory)
    for name in ("img_size 224 is no multiple of patch_size 9", "depth is -1", "dilations is [[1]]", "patch_norm is F"):
        assert name in error.value.got


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_heads": [3, 2, 4, 8]}, "16 channels are not divisible by 3 heads"),
        ({"dilations": [[4], [2], [1], [1]]}, "stage 3 has 2 blocks and 1 dilations"),
        ({"num_heads": [1, 2, 4]}, "num_heads has 3 stages"),
    ],
    ids=str,
)
def test_arguments_that_contradict_each_other_are_refused(changes, reason, tmp_path):
    directory = copy_of("shi_dinat", tmp_path)
    edit_json(directory / "config.json", **changes)
    with pytest.raises(NatdeployError, match="the configuration of shi_dinat describes no model") as error:
        weights_from_checkpoint(directory)
    assert reason in error.value.got


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_classes": 5}, "head.weight is [10, 128] instead of [5, 128]"),
        ({"num_classes": 0}, "2 unexpected: head.bias, head.weight"),
        ({"layer_scale": 1e-5}, "10 missing: stages.0.blocks.0.attention_scale"),
        ({"kernel_size": 5}, "attention.rpb is [1, 5, 5] instead of [1, 9, 9]"),
        ({"qkv_bias": False}, "5 unexpected: stages.0.blocks.0.attention.qkv.bias"),
        ({"mlp_ratio": 3}, "mlp.0.weight is [32, 16] instead of [48, 16]"),
        ({"in_chans": 1}, "stem.projection.0.weight is [8, 3, 3, 3] instead of [8, 1, 3, 3]"),
    ],
    ids=str,
)
def test_config_that_claims_other_things_than_the_weights_is_refused(changes, reason, tmp_path):
    directory = copy_of("shi_dinat", tmp_path)
    edit_json(directory / "config.json", **changes)
    with pytest.raises(NatdeployError, match="the tensors of shi_dinat do not fit its model") as error:
        weights_from_checkpoint(directory)
    assert reason in error.value.got


def test_nan_and_missing_and_unexpected_weights_are_reported_together(tmp_path):
    directory = copy_of("shi_nat", tmp_path)
    weights = torch.load(directory / "model.pth")
    weights["norm.weight"][3] = torch.nan
    weights["levels.0.blocks.0.norm1.bias"][0] = -torch.inf
    del weights["head.bias"]
    weights["neck.weight"] = torch.zeros(2)
    torch.save(weights, directory / "model.pth")
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(directory)
    for reason in (
        "1 missing: head.bias",
        "1 unexpected: neck.weight",
        "2 NaN or infinite: norm.weight, stages.0.blocks.0.attention_norm.bias",
    ):
        assert reason in error.value.got
