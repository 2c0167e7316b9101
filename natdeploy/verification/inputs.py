"""What verification feeds to both sides: real images where given, recorded arrays, or seeded noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.metadata import Metadata
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
    if directory.is_file():
        return [directory]
    if not directory.is_dir():
        raise NatdeployError(f"there is no image or directory '{directory}'")
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise NatdeployError(
            f"there are no images in '{directory}'", needed=f"files that end in {', '.join(IMAGE_SUFFIXES)}"
        )
    return paths


def batches_from_images(paths: list[Path], metadata: Metadata) -> list[dict[str, Array]]:
    """Preprocess images as the file's metadata says, in batches; a fixed batch is filled up with the last image."""
    size = metadata.size_limits.batch or _IMAGES_PER_BATCH
    batches = []
    for first in range(0, len(paths), size):
        chunk = paths[first : first + size]
        if metadata.size_limits.batch:
            chunk = chunk + [chunk[-1]] * (size - len(chunk))
        batches.append({"pixel_values": batch_from_images(chunk, metadata.preprocessing)})
    return batches


def batches_of_noise(metadata: Metadata, seed: int = 0) -> list[dict[str, Array]]:
    """Seeded standard normal noise; several sizes where sizes are free, non-square ones among them."""
    limits = metadata.size_limits
    generator = np.random.default_rng(seed)
    sizes = [limits.minimum]
    if not limits.is_fixed:
        low, high = limits.minimum[0], min(limits.maximum[0], max(_LARGEST_NOISE, limits.minimum[0]))
        middle = low + (high - low) // 3
        sizes += [(min(middle + 1, high), high), (high, middle)]
    channels = metadata.config.num_channels
    if (limits.batch or 2) * channels * sizes[-1][0] * sizes[-1][1] > _LARGEST_BATCH:
        raise NatdeployError(
            f"noise for a batch of {limits.batch or 2} images of {limits} would not fit into memory",
            next_step="Give smaller inputs with --inputs",
        )
    return [
        {"pixel_values": generator.standard_normal((limits.batch or 2, channels, *size)).astype(np.float32)}
        for size in dict.fromkeys(sizes)
    ]
