"""``preprocessor_config.json`` of Hugging Face, translated into a :class:`Preprocessing`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from natdeploy.checkpoints.fields import Fields
from natdeploy.preprocessing import Interpolation, Preprocessing

# Hugging Face stores Pillow's resampling constants.
_PILLOW_RESAMPLING: dict[int, Interpolation] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}

_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_SHORTER_EDGE = {
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": 224,
    "image_mean": _CLIP_MEAN,
    "image_std": _CLIP_STD,
}

# Defaults of the processors' constructors (transformers 4.40.2); another kind of processor must say everything.
_PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {"size": 224, "resample": 2, "image_mean": 0.5, "image_std": 0.5},
    "Bit": _SHORTER_EDGE,
    "CLIP": _SHORTER_EDGE,
}
_COMMON = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}

# Steps that some processors have and that Preprocessing has not.
_UNSUPPORTED = ("do_pad", "do_flip_channel_order", "do_thumbnail", "do_align_long_axis", "rescale_offset", "crop_pct")


def preprocessing_from_huggingface(document: Mapping[str, Any], source: str, num_channels: int = 3) -> Preprocessing:
    """Translate the settings of ``ViTImageProcessor``, ``BitImageProcessor`` and their like.

    Args:
        document: What ``preprocessor_config.json`` holds.
        source: Its path, for messages.
        num_channels: Channels that the model takes.

    Raises:
        NatdeployError: With everything that is unknown or contradicts itself or the model.
    """
    given = {name: value for name, value in document.items() if value is not None}
    # "ViT" is what Transformers takes for NAT and DiNAT where the file does not say.
    kind = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "ViTImageProcessor")
    family = re.sub(r"(ImageProcessor|FeatureExtractor)\w*$", "", kind)
    fields = Fields(given, {"do_center_crop": False, **_COMMON, **_PROCESSORS.get(family, {})})
    for name in _UNSUPPORTED:
        if name in given:
            fields.must_be(name, False, 0)
    edge, crop_size, center_crop = _sizes(fields)
    resample = fields.integer("resample", least=0)
    fields.must_be("resample", *_PILLOW_RESAMPLING)
    normalise = fields.flag("do_normalize")
    mean = fields.numbers("image_mean", num_channels) if normalise else (0.0,) * num_channels
    std = fields.numbers("image_std", num_channels) if normalise else (1.0,) * num_channels
    if not all(value > 0 for value in std):
        fields.problems.append(f"image_std is {list(std)}, not positive")
    orders: dict[int, Literal["RGB", "L"]] = {1: "L", 3: "RGB"}
    recipe = Preprocessing(
        crop_size=crop_size,
        resize_edge=edge,
        interpolation=_PILLOW_RESAMPLING.get(resample, "bicubic"),
        resize=fields.flag("do_resize"),
        center_crop=center_crop,
        channel_order=orders.get(num_channels),
        value_range=255 * (fields.number("rescale_factor") if fields.flag("do_rescale") else 1.0),
        mean=mean,
        std=std,
    )
    fields.check(f"'{source}' describes no preprocessing that is supported")
    return recipe


def _sizes(fields: Fields) -> tuple[int | None, tuple[int, int], bool]:
    """Edge to resize to (None: straight to the crop size), size of the input, and whether its centre is cropped."""
    crops = fields.flag("do_center_crop")
    size = fields.size("size")
    if not crops:
        if isinstance(size, int) and fields.flag("do_resize") and isinstance(fields.value("size"), Mapping):
            fields.problems.append(
                f"size is shortest_edge {size} without do_center_crop, which leaves images of different shapes"
            )
        return None, (size, size) if isinstance(size, int) else size, False
    crop = fields.size("crop_size")
    crop_size = (crop, crop) if isinstance(crop, int) else crop
    if not fields.flag("do_resize"):
        return None, crop_size, True
    if isinstance(size, tuple):
        if size != crop_size:
            fields.problems.append(
                f"size is {list(size)} regardless of aspect ratio, then cropped to {list(crop_size)}"
            )
        return None, crop_size, True
    if crop_size[0] != crop_size[1]:
        fields.problems.append(f"crop_size is {list(crop_size)}, not square, after resizing the shorter edge")
    return size, crop_size, True
