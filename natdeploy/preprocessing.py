"""From images to ``pixel_values``, as the checkpoint was trained. Needs Pillow and numpy, no torch.

The recipe travels in the ONNX file's metadata, so ``natdeploy infer`` needs nothing but the file.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from natdeploy.errors import NatdeployError
from natdeploy.input_format import InputFormatName
from natdeploy.ordinary_files import refuse_special_file

if TYPE_CHECKING:
    from PIL.Image import Image

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize and crop give pixels, ``[crop_height, crop_width, channels]`` uint8; then scale, normalise, transpose.

    Args:
        resize_edge: Pixels of the shorter edge after resizing, the aspect ratio kept; None resizes straight to the
            crop size, or not at all when ``resize`` is False. Before a crop that is not square, the image is resized
            until it covers a box of the crop's aspect ratio whose shorter edge this is.
        crop_size: (height, width) of the model's input.
        interpolation: Filter of the resize; Pillow's, which is antialiased.
        resize: Whether to resize at all.
        center_crop: Whether to crop the centre (otherwise the resized image is already ``crop_size``).
        channel_order: ``RGB``; ``L`` for one channel; None where images cannot give the model's channels.
        value_range: Largest pixel value after scaling (1.0: from 0..255 to 0..1).
        mean: Per channel, subtracted after scaling.
        std: Per channel, divided by after that.
        input_format: What the file takes: ``float32-nchw``, normalised, or ``uint8-nhwc``, the pixels, which the file
            itself normalises.
    """

    crop_size: tuple[int, int]
    resize_edge: int | None = None
    interpolation: Interpolation = "bicubic"
    resize: bool = True
    center_crop: bool = True
    channel_order: Literal["RGB", "L"] | None = "RGB"
    value_range: float = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_format: InputFormatName = "float32-nchw"

    @classmethod
    def of_imagenet(cls, image_size: int, crop_fraction: float = 0.875, num_channels: int = 3) -> Preprocessing:
        """Give the recipe of the published checkpoints (timm's evaluation transform).

        Other than three channels have no published mean: 0.5 and 0.5 bring them to -1..1.
        """
        edge = math.floor(image_size / crop_fraction)
        if num_channels == 3:
            return cls((image_size, image_size), resize_edge=edge)
        half = (0.5,) * num_channels
        order: Literal["L"] | None = "L" if num_channels == 1 else None
        return cls((image_size, image_size), resize_edge=edge, channel_order=order, mean=half, std=half)

    def at_size(self, height: int, width: int) -> Preprocessing:
        """Give the same recipe for another input size; the shorter edge keeps its ratio to the crop."""
        edge = None
        if self.resize_edge is not None:
            edge = max(1, self.resize_edge * min(height, width) // min(self.crop_size))
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


def open_image(path: Path) -> Image:
    """Decode one image file completely and turn it upright, as its EXIF data says.

    Raises:
        NatdeployError: If the file is missing, no image, cut off, or too large to be meant seriously.
    """
    from PIL import Image as pillow
    from PIL import ImageOps

    refuse_special_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns from half the size that it refuses on; such an image is read like any other.
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
            image = pillow.open(path)
        with image:
            image.load()
            # Pillow turns TIFF files upright as it loads them; 10.0 forgets to say so, and would turn them twice.
            return image.copy() if image.format == "TIFF" else ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no image '{path}'") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, pillow.DecompressionBombError) as error:
        raise NatdeployError(
            f"cannot read '{path}' as an image",
            got=str(error),
            needed="a complete PNG, JPEG or other Pillow format",
        ) from error


def pixel_values_from_image(image: Image, recipe: Preprocessing) -> npt.NDArray[Any]:
    """Give one decoded image as the recipe's ``input_format`` has it.

    Returns:
        ``[channels, height, width]`` float32, or ``[height, width, channels]`` uint8.

    Raises:
        NatdeployError: See :func:`pixels_from_image`.
    """
    pixels = pixels_from_image(image, recipe)
    return pixels if recipe.input_format == "uint8-nhwc" else normalised(pixels, recipe)


def normalised(pixels: npt.NDArray[np.uint8], recipe: Preprocessing, dtype: str = "float32") -> npt.NDArray[Any]:
    """Scale and normalise pixels ``[..., height, width, channels]``.

    Returns:
        ``[..., channels, height, width]`` in ``dtype``, which is also what the arithmetic is done in.
    """
    scale, mean, std = (np.asarray(x, dtype) for x in (recipe.value_range / 255, recipe.mean, recipe.std))
    return np.ascontiguousarray(np.moveaxis((pixels.astype(dtype) * scale - mean) / std, -1, -3))


def pixels_from_image(image: Image, recipe: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize and crop one decoded image.

    Returns:
        ``[height, width, channels]`` uint8.

    Raises:
        NatdeployError: If the image's kind of pixels, or its size, is not what the recipe can use.
    """
    from PIL import Image as pillow
    from PIL import ImageOps

    image = _eight_bit_image(ImageOps.exif_transpose(image), recipe)
    height, width = recipe.crop_size
    if recipe.resize:
        target = _resized_size(image.size, recipe)
        image = image.resize(target, pillow.Resampling[recipe.interpolation.upper()])
    if recipe.center_crop:  # crop() fills with black where the image is smaller, as torchvision does
        left, top = _crop_start(image.width, width), _crop_start(image.height, height)
        image = image.crop((left, top, left + width, top + height))
    if image.size != (width, height):
        raise NatdeployError(
            "an image has the wrong size and its recipe neither resizes nor crops",
            got=f"{image.height}x{image.width}",
            needed=f"{height}x{width}",
        )
    return np.array(image, np.uint8).reshape(height, width, -1)


def _eight_bit_image(image: Image, recipe: Preprocessing) -> Image:
    """Convert to the recipe's channels, 8 bits each; transparency is dropped, as timm and Transformers do."""
    from PIL import Image as pillow

    if recipe.channel_order is None:
        raise NatdeployError(
            f"an image cannot give the {len(recipe.mean)} channels that this model takes",
            needed="1 or 3 channels",
            next_step="Give the input as an array instead",
        )
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255, not scale
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() <= 0xFFFF:
            raise NatdeployError("an image has more than 16 bits per pixel", needed="8 or 16 bits per channel")
        image = pillow.fromarray((values >> 8).astype(np.uint8))  # the high byte, as Pillow does with 16-bit RGB
    if image.mode == "F":
        raise NatdeployError("an image has floating point pixels, whose range is unknown", needed="8 or 16 bit pixels")
    if image.mode == "P":
        image = image.convert("RGBA")  # by way of its palette's transparency, which Pillow would warn about
    try:
        return image.convert(recipe.channel_order)
    except ValueError as error:  # Pillow 13 has no way from Lab to grey
        raise NatdeployError(
            f"an image has pixels of the kind {image.mode}", needed="grey, RGB, CMYK or YCbCr pixels"
        ) from error


def _crop_start(size: int, crop: int) -> int:
    """First row or column of a centre crop; negative, for black before it, where the image is smaller.

    torchvision rounds half an odd rest to the even number, and gives the smaller half of an odd border to the start.
    """
    return round((size - crop) / 2) if size >= crop else -((crop - size) // 2)


def _resized_size(size: tuple[int, int], recipe: Preprocessing) -> tuple[int, int]:
    """(width, height) after resizing; the longer edge is truncated as torchvision's ``Resize`` does."""
    crop_height, crop_width = recipe.crop_size
    if recipe.resize_edge is None:
        return crop_width, crop_height
    width, height = size
    box_height = recipe.resize_edge * crop_height // min(recipe.crop_size)
    box_width = recipe.resize_edge * crop_width // min(recipe.crop_size)
    if width * box_height <= height * box_width:
        return box_width, max(1, int(box_width * height / width))
    return max(1, int(box_height * width / height)), box_height


def batch_from_images(paths: Sequence[Path], recipe: Preprocessing) -> npt.NDArray[Any]:
    """Give ``[len(paths), ...]``; see :func:`pixel_values_from_image`."""
    return np.stack([pixel_values_from_image(open_image(path), recipe) for path in paths])
