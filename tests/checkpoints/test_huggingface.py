"""Hugging Face directories: every form of the weights, and what config.json may say or leave out."""

import json

import pytest
import torch
from checkpoints.tiny import GOLDEN, copy_of, edit_json, edit_safetensors
from safetensors.torch import load_file, save_file

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.errors import NatdeployError
from natdeploy.models import model_from_weights
from natdeploy.preprocessing import Preprocessing


def shard(tensors, directory, save, suffix, index):
    """Split weights over two files, as save_pretrained does with large models."""
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{suffix[0]}-{number:05}-of-00002{suffix[1]}"
        save({name: tensors[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    (directory / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.fixture
def directory(tmp_path):
    return copy_of("hf_dinat", tmp_path)


@pytest.mark.parametrize("form", ["bin", "sharded safetensors", "sharded bin"])
def test_every_form_gives_the_same_weights(form, directory):
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    if form == "bin":
        torch.save(tensors, directory / "pytorch_model.bin")
    elif form == "sharded bin":
        shard(tensors, directory, torch.save, ("pytorch_model", ".bin"), "pytorch_model.bin.index.json")
    else:
        shard(tensors, directory, save_file, ("model", ".safetensors"), "model.safetensors.index.json")
    assert weights_from_checkpoint(directory).sha256 == weights_from_checkpoint(GOLDEN / "hf_dinat").sha256


def test_query_key_and_value_are_packed_in_this_order_and_layer_scale_is_parted(directory):
    stored = load_file(directory / "model.safetensors")
    tensors = weights_from_checkpoint(directory).tensors
    theirs, ours = "dinat.encoder.levels.2.layers.1.", "stages.2.blocks.1."
    packed = [stored[f"{theirs}attention.self.{part}.weight"] for part in ("query", "key", "value")]
    assert torch.equal(tensors[f"{ours}attention.qkv.weight"], torch.cat(packed))
    scales = stored[f"{theirs}layer_scale_parameters"]
    assert torch.equal(tensors[f"{ours}attention_scale"], scales[0])
    assert torch.equal(tensors[f"{ours}mlp_scale"], scales[1])


def test_half_precision_weights_become_float32(directory):
    edit_safetensors(directory, lambda tensors: {name: t.bfloat16() for name, t in tensors.items()})
    found, exact = weights_from_checkpoint(directory).tensors, weights_from_checkpoint(GOLDEN / "hf_dinat").tensors
    assert {t.dtype for t in found.values()} == {torch.float32}
    assert all(torch.equal(found[name], exact[name].bfloat16().float()) for name in exact)


def test_model_without_a_classifier_has_pooled_features(directory):
    bare = {  # DinatModel: no prefix, no classifier
        name.removeprefix("dinat."): t
        for name, t in load_file(directory / "model.safetensors").items()
        if not name.startswith("classifier.")
    }
    save_file(bare, directory / "model.safetensors")
    checkpoint = weights_from_checkpoint(directory)
    assert (checkpoint.config.num_labels, checkpoint.config.final_norm, checkpoint.labels) == (0, True, ())
    pixel_values = torch.rand(1, 3, 40, 56)
    found = model_from_weights(checkpoint.config, checkpoint.tensors)(pixel_values)
    whole = weights_from_checkpoint(GOLDEN / "hf_dinat")
    expected = model_from_weights(whole.config, whole.tensors)(pixel_values, ["pooled"])
    assert torch.equal(found["pooled"], expected["pooled"])


@pytest.mark.parametrize(
    ("golden", "norms"),
    [
        ("hf_nat_backbone", ("stem", "stage1", "stage2", "stage3", "stage4")),
        ("hf_dinat_backbone", ("stage2", "stage4")),
    ],
)
def test_backbone_has_the_norms_of_its_out_features(golden, norms):
    config = weights_from_checkpoint(GOLDEN / golden).config
    assert (config.feature_norms, config.final_norm, config.num_labels) == (norms, False, 0)


def test_fields_that_equal_the_default_may_be_missing(tmp_path):
    directory = copy_of("hf_nat", tmp_path)
    edit_json(directory / "config.json", remove=["patch_size", "num_channels", "mlp_ratio", "qkv_bias", "hidden_act"])
    edit_json(directory / "config.json", remove=["layer_norm_eps", "layer_scale_init_value"])
    assert weights_from_checkpoint(directory).config == weights_from_checkpoint(GOLDEN / "hf_nat").config


def test_fields_that_leave_no_trace_in_the_weights_are_taken_over(directory):
    edit_json(directory / "config.json", layer_norm_eps=3e-3, hidden_act="relu", dilations=[[1], [2], [3, 1], [4]])
    config = weights_from_checkpoint(directory).config
    assert (config.layer_norm_eps, config.hidden_act, config.dilations) == (3e-3, "relu", ((1,), (2,), (3, 1), (4,)))


def test_default_dilations_are_those_of_dinat_mini_and_nat_has_none(directory):
    edit_json(directory / "config.json", remove=["dilations"])
    with pytest.raises(NatdeployError, match="stage 1 has 1 blocks and 3 dilations"):
        weights_from_checkpoint(directory)
    assert weights_from_checkpoint(GOLDEN / "hf_nat").config.dilations == ((1,), (1,), (1, 1), (1,))


@pytest.mark.parametrize(
    "names",
    [
        None,
        {},
        {"0": "cat", "1": "dog"},  # of another classifier
        {str(n): "x" for n in range(1, 11)},  # counted from 1
        ["cat"] * 10,
    ],
    ids=str,
)
def test_labels_that_do_not_fit_the_classifier_are_left_out(names, directory):
    edit_json(directory / "config.json", id2label=names)
    checkpoint = weights_from_checkpoint(directory)
    assert (checkpoint.labels, checkpoint.config.num_labels) == ((), 10)


def test_labels_come_in_index_order(directory):
    edit_json(directory / "config.json", id2label={str(n): f"class {n}" for n in (9, 3, 0, 1, 2, 4, 5, 6, 7, 8)})
    assert weights_from_checkpoint(directory).labels == tuple(f"class {n}" for n in range(10))


def test_number_of_labels_that_contradicts_the_classifier_is_refused(directory):
    edit_json(directory / "config.json", num_labels=5)
    with pytest.raises(NatdeployError, match="num_labels is 5, the classifier has 10 classes"):
        weights_from_checkpoint(directory)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patch_size": 16}, "patch_size is 16, not 4"),
        ({"hidden_act": "swiglu"}, "hidden_act 'swiglu' is none of gelu"),
        ({"hidden_act": 3}, "hidden_act is 3, not a string"),
        ({"num_heads": [1, 2, 5, 8]}, "stage 3: 64 channels are not divisible by 5 heads"),
        ({"layer_norm_eps": None}, "layer_norm_eps is None, not a number"),
        ({"layer_norm_eps": -1e-5}, "layer_norm_eps -1e-05 must not be negative"),
        ({"mlp_ratio": 1e-9}, "mlp_ratio 1e-09 leaves no hidden channel of 16"),
        (
            {"depths": [1] * 5000, "num_heads": [1] * 5000, "dilations": [[1]] * 5000},
            "number of stages is 5000; it can be 16 at most",
        ),
        ({"embed_dim": 10**6, "num_heads": [1] * 4}, "stage 4 has 8000000 channels; it can have 1000000 at most"),
        ({"kernel_size": 10**6}, "kernel_size is 1000000; it can be 16384 at most"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio is nan"),
        ({"depths": []}, "depths is []"),
        ({"qkv_bias": "yes"}, "qkv_bias is 'yes'"),
        ({"embed_dim": 24}, "norm.weight is [128] instead of [192]"),
        ({"layer_scale_init_value": 0}, "10 unexpected: stages.0.blocks.0.attention_scale"),
        ({"num_channels": 1}, "stem.projection.0.weight is [8, 3, 3, 3] instead of [8, 1, 3, 3]"),
        ({"kernel_size": 7}, "attention.rpb is [1, 5, 5] instead of [1, 13, 13]"),
        ({"depths": [1, 1, 1, 1], "dilations": [[1]] * 4}, "15 unexpected: stages.2.blocks.1"),
    ],
    ids=str,
)
def test_configuration_that_is_wrong_or_not_of_these_weights_is_refused(changes, reason, directory):
    edit_json(directory / "config.json", **changes)
    with pytest.raises(NatdeployError, match="hf_dinat") as error:
        weights_from_checkpoint(directory)
    assert reason in error.value.got


def test_wrong_fields_are_reported_together(directory):
    edit_json(directory / "config.json", patch_size=2, embed_dim="big", num_channels=-3)
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(directory)
    assert all(name in error.value.got for name in ("patch_size is 2", "embed_dim is 'big'", "num_channels is -3"))


def test_nan_is_found(directory):
    def poison(tensors):
        tensors["dinat.encoder.levels.1.layers.0.attention.self.rpb"][0, 2, 2] = torch.nan
        return tensors

    edit_safetensors(directory, poison)
    with pytest.raises(NatdeployError, match=r"1 NaN or infinite: stages\.1\.blocks\.0\.attention\.rpb"):
        weights_from_checkpoint(directory)


def test_integers_are_no_weights(directory):
    whole = load_file(directory / "model.safetensors")
    save_file(whole | {"classifier.bias": whole["classifier.bias"].to(torch.int8)}, directory / "model.safetensors")
    with pytest.raises(NatdeployError, match=r"1 without floating point: head\.bias is torch\.int8"):
        weights_from_checkpoint(directory)


def test_missing_part_of_query_key_value_is_reported(directory):
    key = "dinat.encoder.levels.0.layers.0.attention.self.key.weight"
    edit_safetensors(directory, lambda tensors: {name: t for name, t in tensors.items() if name != key})
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(directory)
    assert "1 missing: stages.0.blocks.0.attention.qkv.weight" in error.value.got
    assert "stages.0.blocks.0.attention.query.weight" in error.value.got  # there, but of no use


def test_no_weight_is_dropped_in_silence(directory):
    edit_safetensors(directory, lambda tensors: tensors | {"neck.weight": torch.ones(3)})
    with pytest.raises(NatdeployError, match=r"1 unexpected: neck\.weight"):
        weights_from_checkpoint(directory)


def test_two_tensors_for_one_name_are_refused(directory):
    edit_safetensors(directory, lambda tensors: tensors | {"layernorm.bias": torch.ones(128)})  # beside dinat.layernorm
    with pytest.raises(NatdeployError, match="more than one tensor for one name") as error:
        weights_from_checkpoint(directory)
    assert error.value.got == "norm.bias"


# Preprocessing


def test_without_preprocessor_config_the_published_recipe_holds(directory):
    checkpoint = weights_from_checkpoint(directory)
    assert checkpoint.preprocessing == Preprocessing.of_imagenet(224)
    edit_json(directory / "config.json", image_size=384)
    checkpoint = weights_from_checkpoint(directory)
    assert (checkpoint.config.image_size, checkpoint.preprocessing.crop_size) == (384, (384, 384))


def test_grey_model_without_preprocessor_config_takes_grey_images(directory):
    edit_json(directory / "config.json", num_channels=1)
    name = "dinat.embeddings.patch_embeddings.projection.0.weight"
    edit_safetensors(directory, lambda tensors: tensors | {name: tensors[name][:, :1]})
    preprocessing = weights_from_checkpoint(directory).preprocessing
    assert (preprocessing.channel_order, preprocessing.mean, preprocessing.std) == ("L", (0.5,), (0.5,))


def test_preprocessor_config_gives_recipe_and_image_size(directory):
    size = {"height": 96, "width": 128}
    edit_json(directory / "preprocessor_config.json", image_processor_type="ViTImageProcessor", size=size)
    checkpoint = weights_from_checkpoint(directory)
    assert checkpoint.preprocessing.crop_size == (96, 128)
    assert checkpoint.config.image_size == 96


def test_broken_preprocessor_config_is_an_error(directory):
    (directory / "preprocessor_config.json").write_text("{")
    with pytest.raises(NatdeployError, match=r"preprocessor_config\.json' as JSON"):
        weights_from_checkpoint(directory)
