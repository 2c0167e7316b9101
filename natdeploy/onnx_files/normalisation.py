"""The first layers of a file that takes pixels as they are: normalisation and layout, in the graph (``uint8-nhwc``)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from natdeploy.preprocessing import Preprocessing


class PixelNormalisation(nn.Module):
    """From pixels ``[B, H, W, channels]`` uint8 to what a recipe gives: ``[B, channels, H, W]`` float32.

    Two steps per channel: subtract the mean, in grey levels, then multiply. Pixels are whole numbers, so only the two
    constants and two results are rounded: over all pixels and ImageNet's recipe at most 2.4e-7 from the exact value,
    where scaling, subtracting and dividing, as the float32 recipe does it, is at most 6.0e-7 from it, and a product
    before a sum 3.4e-7.

    Args:
        recipe: Whose scale, mean and standard deviation.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, recipe: Preprocessing) -> None:
        super().__init__()
        mean, std = np.array(recipe.mean), np.array(recipe.std)
        self.register_buffer("mean", torch.from_numpy(mean * 255 / recipe.value_range).float())
        self.register_buffer("scale", torch.from_numpy(recipe.value_range / 255 / std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        """Cast first: TensorRT takes uint8 only as an input that goes straight into a Cast."""
        normalised: Tensor = (pixels.to(torch.float32) - self.mean) * self.scale
        return normalised.permute(0, 3, 1, 2)
