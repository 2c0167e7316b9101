"""The digits that the shipped checkpoint knows: scikit-learn's 1797 real 8x8 scans, split once for everybody.

Training, the tests and the image files all take the split from here, so no held-out scan is ever trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from natdeploy.errors import MissingDependencyError

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_LARGEST_VALUE = 16  # scikit-learn's scans count the dark pixels of 4x4 cells
_HELD_OUT_EVERY = 4


@dataclass(frozen=True)
class Scans:
    """Some of the scans.

    Args:
        pixels: ``[N, 8, 8]`` uint8, 0 the paper and 255 the ink.
        labels: ``[N]`` int64, the digit 0..9.
        indices: ``[N]`` int64, the place in scikit-learn's data set.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]

    def first(self, count: int) -> Scans:
        """Give the first ``count`` of them."""
        return Scans(self.pixels[:count], self.labels[:count], self.indices[:count])


def load_split() -> tuple[Scans, Scans]:
    """Give the scans to train on and the scans held out: every fourth of each class, so no random generator decides.

    Neighbours in the data set tend to be by one hand, so every fourth takes a share of each. Both parts go round the
    classes (0, 1 ... 9, 0, 1 ...), so that the first 20 are two of each.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SystemExit(str(MissingDependencyError("scikit-learn", "reading the digits", "test"))) from error
    bunch = load_digits()
    values, labels = bunch.images.astype(np.int64), bunch.target.astype(np.int64)
    pixels = ((values * 255 + _LARGEST_VALUE // 2) // _LARGEST_VALUE).astype(np.uint8)
    of_class = [np.flatnonzero(labels == digit) for digit in range(len(LABELS))]
    is_held_out = np.zeros(len(labels), bool)
    rank = np.zeros(len(labels), np.int64)
    for members in of_class:
        is_held_out[members[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]] = True
        rank[members] = np.arange(len(members))
    order = np.lexsort((labels, rank))
    train, held_out = order[~is_held_out[order]], order[is_held_out[order]]
    return tuple(Scans(pixels[part], labels[part], part) for part in (train, held_out))  # type: ignore[return-value]


def write_images(scans: Scans, directory: Path, scale: int = 1) -> list[Path]:
    """Write ``digit-<label>-<index>.png`` for each scan: grayscale, 8x8 times ``scale`` (pixels repeated)."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for pixels, label, index in zip(scans.pixels, scans.labels, scans.indices, strict=True):
        path = directory / f"digit-{label}-{index:04}.png"
        Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(path, optimize=True)
        paths.append(path)
    return paths
