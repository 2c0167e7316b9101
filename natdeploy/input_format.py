"""In which form a file takes its images: the type of ``pixel_values`` and the order of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

# Name of the inner tensor that the model itself takes, in files of uint8-nhwc.
NORMALISED = "normalised"

InputFormatName = Literal["float32-nchw", "uint8-nhwc"]
Dim = TypeVar("Dim")


@dataclass(frozen=True)
class InputFormat:
    """One form of ``pixel_values``.

    Args:
        dtype: Its type.
        axes: Its axes, in order: a letter for each of batch (N), channels (C), height (H) and width (W).
    """

    dtype: str
    axes: str

    def shape(self, batch: Dim, channels: Dim, height: Dim, width: Dim) -> tuple[Dim, ...]:
        """Put sizes, or names of free ones, into the order of the axes."""
        sizes = {"N": batch, "C": channels, "H": height, "W": width}
        return tuple(sizes[axis] for axis in self.axes)

    def batch_and_size(self, shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
        """Read the batch and (height, width) from a shape."""
        batch, height, width = (shape[self.axes.index(axis)] for axis in "NHW")
        return batch, (height, width)

    def noise(
        self, generator: np.random.Generator, batch: int, channels: int, size: tuple[int, int]
    ) -> npt.NDArray[Any]:
        """Give standard normal noise, or random pixels: every value equally often."""
        shape = self.shape(batch, channels, *size)
        if self.dtype == "uint8":
            return generator.integers(0, 256, shape, np.uint8)
        return generator.standard_normal(shape).astype(self.dtype)


# float32-nchw: normalised by whoever feeds the file. uint8-nhwc: resized and cropped pixels as they are; the file
# normalises them itself, and moves the channels.
INPUT_FORMATS: dict[InputFormatName, InputFormat] = {
    "float32-nchw": InputFormat("float32", "NCHW"),
    "uint8-nhwc": InputFormat("uint8", "NHWC"),
}
