"""preprocessor_config.json as Transformers understands it."""

import pytest

from natdeploy.checkpoints.preprocessor_config import preprocessing_from_huggingface
from natdeploy.errors import NatdeployError
from natdeploy.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

BIT = {  # as BitImageProcessor.save_pretrained writes it
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(IMAGENET_MEAN),
    "image_processor_type": "BitImageProcessor",
    "image_std": list(IMAGENET_STD),
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 256},
}
VIT = {  # as ViTImageProcessor.save_pretrained writes it
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 64, "width": 96},
}


def read(document, channels=3):
    return preprocessing_from_huggingface(document, "preprocessor_config.json", channels)


def without(document, *names):
    return {name: value for name, value in document.items() if name not in names}


def test_bit_processor_with_imagenet_values_is_the_published_recipe():
    assert read(BIT) == Preprocessing.of_imagenet(224)


def test_vit_processor_resizes_straight_to_height_and_width():
    recipe = read(VIT)
    assert (recipe.crop_size, recipe.resize_edge, recipe.center_crop) == ((64, 96), None, False)
    assert (recipe.interpolation, recipe.mean, recipe.std) == ("bilinear", (0.5,) * 3, (0.5,) * 3)
    assert recipe.value_range == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["ViTImageProcessorFast", "ViTFeatureExtractor", "ViTImageProcessor"])
def test_other_names_of_a_processor_mean_the_same(name):
    assert read(VIT | {"image_processor_type": name}) == read(VIT)


def test_old_feature_extractor_with_one_number_as_size_gives_a_square():
    old = {"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor", "size": 224}
    recipe = read(old | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2})
    assert (recipe.crop_size, recipe.resize_edge, recipe.center_crop) == ((224, 224), None, False)


def test_vit_file_with_a_crop_size_but_no_crop_does_not_crop():
    recipe = read(VIT | {"crop_size": 64})  # so written by Transformers' own tiny DiNAT checkpoint
    assert (recipe.crop_size, recipe.center_crop) == ((64, 96), False)


def test_what_is_missing_has_the_default_of_its_processor():
    vit = read({"image_processor_type": "ViTImageProcessor"})
    assert (vit.crop_size, vit.interpolation, vit.mean, vit.center_crop) == ((224, 224), "bilinear", (0.5,) * 3, False)
    bit = read({"image_processor_type": "BitImageProcessor"})
    assert (bit.crop_size, bit.resize_edge, bit.interpolation, bit.center_crop) == ((224, 224), 224, "bicubic", True)
    assert bit.mean == (0.48145466, 0.4578275, 0.40821073)  # CLIP's, the class default
    assert read({}) == vit  # the processor that Transformers takes for nat and dinat
    assert read(dict.fromkeys(VIT)) == vit  # null, as newer versions write it, is the same as missing


def test_steps_can_be_left_out():
    assert read(BIT | {"do_rescale": False}).value_range == 255.0
    plain = read(BIT | {"do_normalize": False})
    assert (plain.mean, plain.std) == ((0.0,) * 3, (1.0,) * 3)
    assert read(BIT | {"rescale_factor": 1 / 127.5}).value_range == pytest.approx(2.0)
    crop_only = read(BIT | {"do_resize": False})
    assert (crop_only.resize, crop_only.center_crop, crop_only.crop_size) == (False, True, (224, 224))


@pytest.mark.parametrize(
    ("constant", "name"), list(enumerate(["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]))
)
def test_resampling_filters_are_pillows(constant, name):
    from PIL import Image

    assert Image.Resampling(constant).name.lower() == name
    assert read(VIT | {"resample": constant}).interpolation == name


def test_one_channel():
    recipe = read(VIT | {"image_mean": [0.2], "image_std": 0.3}, channels=1)
    assert (recipe.channel_order, recipe.mean, recipe.std) == ("L", (0.2,), (0.3,))


def test_four_channels_have_no_order_that_images_could_give():
    assert read(VIT | {"image_mean": 0.5, "image_std": [0.1, 0.2, 0.3, 0.4]}, channels=4).channel_order is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"resample": 6}, "resample is 6"),
        ({"resample": "bicubic"}, "resample is 'bicubic'"),
        ({"image_mean": [0.5, 0.5]}, "image_mean is [0.5, 0.5], not a list of 3 numbers"),
        ({"image_std": [1, 0, 1]}, "image_std is [1.0, 0.0, 1.0], not positive"),
        ({"size": {"longest_edge": 500}}, "size is {'longest_edge': 500}"),
        ({"size": {"shortest_edge": 224, "longest_edge": 500}}, "size is {'shortest_edge'"),
        ({"size": -1}, "size is -1"),
        ({"crop_size": {"height": 224}}, "crop_size is {'height': 224}"),
        ({"crop_size": {"height": 224, "width": 160}}, "crop_size is [224, 160], not square"),
        ({"size": {"height": 256, "width": 256}}, "regardless of aspect ratio, then cropped"),
        ({"do_center_crop": False}, "shortest_edge 256 without do_center_crop"),
        ({"crop_pct": 0.9}, "crop_pct is 0.9"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is True"),
        ({"do_pad": True}, "do_pad is True"),
        ({"rescale_factor": "1/255"}, "rescale_factor is '1/255'"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_refused_with_the_reason(changes, reason):
    with pytest.raises(NatdeployError, match="describes no preprocessing that is supported") as error:
        read(BIT | changes)
    assert reason in error.value.got


def test_unknown_processor_must_say_everything():
    unknown = BIT | {"image_processor_type": "SomeImageProcessor"}
    assert read(unknown) == read(BIT)
    with pytest.raises(NatdeployError) as error:
        read(without(unknown, "size", "resample", "image_mean"))
    for name in ("size", "resample", "image_mean"):
        assert f"{name} is missing" in error.value.got


def test_all_problems_are_reported_together():
    with pytest.raises(NatdeployError) as error:
        read(BIT | {"size": "big", "resample": 9, "image_std": None, "do_resize": 3})
    assert all(part in error.value.got for part in ("size is 'big'", "resample is 9", "do_resize is 3"))
