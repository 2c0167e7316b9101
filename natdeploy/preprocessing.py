"""From images to ``pixel_values``, as the checkpoint was trained. Needs Pillow and numpy, no torch.

The recipe travels in the ONNX file's metadata, so ``natdeploy infer`` needs nothing but the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from natdeploy.errors import NatdeployError

if TYPE_CHECKING:
    from PIL.Image import Image

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Hugging Face stores Pillow's resampling constants.
_PILLOW_RESAMPLING: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, scale, normalise: one image becomes ``[channels, crop_height, crop_width]`` float32.

    Args:
        resize_edge: Pixels of the shorter edge after resizing, the aspect ratio kept; None resizes straight to the
            crop size, or not at all when ``resize`` is False.
        crop_size: (height, width) of the model's input.
        interpolation: Filter of the resize; Pillow's, which is antialiased.
        resize: Whether to resize at all.
        center_crop: Whether to crop the centre (otherwise the resized image is already ``crop_size``).
        channel_order: ``RGB``, or ``L`` for one channel.
        value_range: Largest pixel value after scaling (1.0: from 0..255 to 0..1).
        mean: Per channel, subtracted after scaling.
        std: Per channel, divided by after that.
    """

    crop_size: tuple[int, int]
    resize_edge: int | None = None
    interpolation: Interpolation = "bicubic"
    resize: bool = True
    center_crop: bool = True
    channel_order: Literal["RGB", "L"] = "RGB"
    value_range: float = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @classmethod
    def of_imagenet(cls, image_size: int, crop_fraction: float = 0.875) -> Preprocessing:
        """Give the recipe of the published checkpoints (timm's evaluation transform)."""
        return cls((image_size, image_size), resize_edge=math.floor(image_size / crop_fraction))

    def at_size(self, height: int, width: int) -> Preprocessing:
        """Give the same recipe for another input size; the shorter edge keeps its ratio to the crop."""
        edge = None
        if self.resize_edge is not None:
            edge = max(1, round(self.resize_edge * min(height, width) / min(self.crop_size)))
        return replace(self, crop_size=(height, width), resize_edge=edge)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, every field; ``antialias`` says what Pillow's filters do."""
        return {**asdict(self), "antialias": True}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Preprocessing:
        """Read what :meth:`to_json` wrote."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in document.items() if k in cls.__annotations__
        }
        return cls(**fields)


def preprocessing_from_huggingface(document: Mapping[str, Any], source: str) -> Preprocessing:
    """Translate a ``preprocessor_config.json`` (``ViTImageProcessor``, ``BitImageProcessor`` and their like).

    Raises:
        NatdeployError: If a field has a meaning that is not known here.
    """
    try:
        size, crop = document.get("size", 224), document.get("crop_size", 224)
        do_crop = bool(document.get("do_center_crop", "crop_size" in document))
        do_resize = bool(document.get("do_resize", True))
        edge = size.get("shortest_edge") if isinstance(size, Mapping) else size if do_crop else None
        crop_size = _height_width(crop if do_crop else size)
        rescale = float(document.get("rescale_factor", 1 / 255)) if document.get("do_rescale", True) else 1.0
        normalise = bool(document.get("do_normalize", True))
        mean = tuple(float(x) for x in document.get("image_mean", IMAGENET_MEAN)) if normalise else (0.0,) * 3
        std = tuple(float(x) for x in document.get("image_std", IMAGENET_STD)) if normalise else (1.0,) * 3
        return Preprocessing(
            crop_size=crop_size,
            resize_edge=None if edge is None else int(edge),
            interpolation=_PILLOW_RESAMPLING[int(document.get("resample", 3))],
            resize=do_resize,
            center_crop=do_crop,
            channel_order="L" if len(mean) == 1 else "RGB",
            value_range=255 * rescale,
            mean=mean,
            std=std,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NatdeployError(f"'{source}' describes a preprocessing that is not supported", got=repr(error)) from error


def _height_width(size: object) -> tuple[int, int]:
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        return int(size.get("height", edge)), int(size.get("width", edge))
    if isinstance(size, Sequence):
        return int(size[0]), int(size[-1])
    return int(size), int(size)  # type: ignore[call-overload]


def open_image(path: Path) -> Image:
    """Decode one image file completely.

    Raises:
        NatdeployError: If the file is missing, no image, cut off, or too large to be meant seriously.
    """
    from PIL import Image as pillow

    try:
        with pillow.open(path) as image:
            image.load()
            return image.copy()
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no image '{path}'") from error
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise NatdeployError(
            f"cannot read '{path}' as an image",
            got=str(error),
            needed="a complete PNG, JPEG or other Pillow format",
        ) from error


def pixel_values_from_image(image: Image, recipe: Preprocessing) -> npt.NDArray[np.float32]:
    """Give ``[channels, height, width]`` float32 for one decoded image."""
    from PIL import Image as pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image).convert(recipe.channel_order)
    height, width = recipe.crop_size
    if recipe.resize:
        target = _resized_size(image.size, recipe)
        image = image.resize(target, pillow.Resampling[recipe.interpolation.upper()])
    if recipe.center_crop:  # crop() fills with black where the image is smaller, as torchvision does
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        image = image.crop((left, top, left + width, top + height))
    if image.size != (width, height):
        raise NatdeployError(
            "an image has the wrong size and its recipe neither resizes nor crops",
            got=f"{image.height}x{image.width}",
            needed=f"{height}x{width}",
        )
    pixels = np.asarray(image, np.float32).reshape(height, width, -1) * np.float32(recipe.value_range / 255)
    normalised = (pixels - np.asarray(recipe.mean, np.float32)) / np.asarray(recipe.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def _resized_size(size: tuple[int, int], recipe: Preprocessing) -> tuple[int, int]:
    """(width, height) after resizing; the longer edge is truncated as torchvision's ``Resize`` does."""
    if recipe.resize_edge is None:
        return recipe.crop_size[1], recipe.crop_size[0]
    width, height = size
    edge = recipe.resize_edge
    if width <= height:
        return edge, max(1, int(edge * height / width))
    return max(1, int(edge * width / height)), edge


def batch_from_images(paths: Sequence[Path], recipe: Preprocessing) -> npt.NDArray[np.float32]:
    """Give ``[len(paths), channels, height, width]`` float32."""
    return np.stack([pixel_values_from_image(open_image(path), recipe) for path in paths])
