"""What verification feeds to both sides: real images where given, recorded arrays, or seeded noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.onnx_files.metadata import Metadata
from natdeploy.ordinary_files import refuse_special_file
from natdeploy.preprocessing import batch_from_images
from natdeploy.runners.protocol import Array

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")
_IMAGES_PER_BATCH = 16  # bounds memory: the float64 reference of nat_base needs about 60 MB per image
_LARGEST_BATCH = 2**31  # numbers, 8 GiB; the reference in float64 needs several times that
_LARGEST_NOISE = 320  # pixels; enough for several tiles per axis, small enough for a float64 reference


def image_paths(directory: Path) -> list[Path]:
    """List the images of a directory, sorted by name; a path to one image is a list of one.

    Raises:
        NatdeployError: If there are none.
    """
    refuse_special_file(directory)
    if directory.is_file():
        return [directory]
    if not directory.is_dir():
        raise NatdeployError(f"there is no image or directory '{directory}'")
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise NatdeployError(
            f"there are no images in '{directory}'", needed=f"files that end in {', '.join(IMAGE_SUFFIXES)}"
        )
    return paths


class ImageBatches(Sequence[dict[str, Array]]):
    """Images in batches, decoded when a batch is asked for; what the batch lacks is filled up with the last image.

    Args:
        paths: The images.
        metadata: Of the file that they are for: its preprocessing and batch.
    """

    def __init__(self, paths: Sequence[Path], metadata: Metadata) -> None:
        self._paths, self._metadata = paths, metadata
        limits = metadata.size_limits
        self._size = limits.batch_near(_IMAGES_PER_BATCH)
        self._least = limits.batch_near(1)

    def __len__(self) -> int:
        return math.ceil(len(self._paths) / self._size)

    @overload
    def __getitem__(self, index: int) -> dict[str, Array]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Array]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Array] | list[dict[str, Array]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        chunk = list(self._paths[index * self._size :][: self._size])
        if not chunk:
            raise IndexError(index)
        chunk += [chunk[-1]] * (self._least - len(chunk))
        return {"pixel_values": batch_from_images(chunk, self._metadata.preprocessing)}


def batches_of_noise(metadata: Metadata, seed: int = 0) -> list[dict[str, Array]]:
    """Seeded noise, normal or random pixels; several sizes where sizes are free, non-square ones among them."""
    limits = metadata.size_limits
    generator = np.random.default_rng(seed)
    batch = limits.batch_near(2)
    sizes = [limits.minimum]
    if not limits.is_fixed:
        low, high = limits.minimum[0], min(limits.maximum[0], max(_LARGEST_NOISE, limits.minimum[0]))
        middle = low + (high - low) // 3
        sizes += [limits.nearest((min(middle + 1, high), high)), limits.nearest((high, middle))]
    channels = metadata.config.num_channels
    if batch * channels * sizes[-1][0] * sizes[-1][1] > _LARGEST_BATCH:
        raise NatdeployError(
            f"noise for a batch of {batch} images of {limits} would not fit into memory",
            next_step="Give smaller inputs with --inputs",
        )
    noise = INPUT_FORMATS[metadata.preprocessing.input_format].noise
    return [{"pixel_values": noise(generator, batch, channels, size)} for size in dict.fromkeys(sizes)]
