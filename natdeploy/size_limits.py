"""Which image sizes and batches a model accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS, InputFormatName


@dataclass(frozen=True)
class SizeLimits:
    """Image sizes that a model accepts, in pixels, the same range for height and width unless it is fixed.

    Args:
        minimum: Smallest (height, width).
        maximum: Largest (height, width); equal to ``minimum`` where the size is fixed.
        batch: The fixed batch, or None where it is free.
        batch_range: Smallest and largest batch, where a free one has bounds, as in an engine.
        input_format: Says where an input's shape has them.
    """

    minimum: tuple[int, int]
    maximum: tuple[int, int]
    batch: int | None = None
    batch_range: tuple[int, int] | None = None
    input_format: InputFormatName = "float32-nchw"

    @property
    def is_fixed(self) -> bool:
        """Whether only one size is accepted."""
        return self.minimum == self.maximum

    def __str__(self) -> str:
        """Say it as users write sizes: ``224x224``, or ``32 to 512``."""
        if self.is_fixed:
            return f"{self.minimum[0]}x{self.minimum[1]}"
        (top, left), (bottom, right) = self.minimum, self.maximum
        if (top, bottom) == (left, right):
            return f"{top} to {bottom} (height and width)"
        return f"{top}x{left} to {bottom}x{right}"

    def nearest(self, size: tuple[int, int]) -> tuple[int, int]:
        """Give the accepted (height, width) that is nearest to ``size``."""
        height, width = (
            min(max(edge, low), high) for edge, low, high in zip(size, self.minimum, self.maximum, strict=True)
        )
        return height, width

    def batch_near(self, wanted: int) -> int:
        """Give the accepted batch that is nearest to ``wanted``."""
        low, high = self.batch_range or (wanted, wanted)
        return self.batch or min(max(wanted, low), high)

    def check(self, shape: Sequence[int], source: str) -> None:
        """Explain what is wrong with the shape of an input, whose axes are those of ``input_format``.

        Raises:
            NatdeployError: If the batch or the size is outside what the model accepts.
        """
        batch, (height, width) = INPUT_FORMATS[self.input_format].batch_and_size(shape)
        inside = all(
            low <= size <= high for size, low, high in zip((height, width), self.minimum, self.maximum, strict=True)
        )
        if not inside:
            raise NatdeployError(
                f"{source} does not accept images of {height}x{width}",
                needed=str(self),
                next_step="Resize the images, or export again with --image-size or --dynamic-size",
            )
        if batch != self.batch_near(batch):
            low, high = self.batch_range or (batch, batch)
            raise NatdeployError(
                f"{source} does not accept a batch of {batch}",
                needed=f"a batch of {self.batch}" if self.batch is not None else f"a batch of {low} to {high}",
                next_step="Export again with --batch dynamic",
            )
