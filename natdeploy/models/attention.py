"""The neighborhood attention layer: the only user of the operator in the models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from natdeploy.models.probes import Probe, no_probe
from natdeploy.models.sizes import crop_like, pad_to_extents
from natdeploy.ops import torch_op as torch_op  # registers torch.ops.natdeploy
from natdeploy.ops.spec import Neighborhood


class NeighborhoodAttentionLayer(nn.Module):
    """qkv projection, neighborhood attention, output projection, on ``[B, H, W, dim]``.

    A map smaller than ``kernel_size * dilation`` is zero-padded to it *before* the qkv projection and cropped after
    attention: padded tokens are attended, with the projection's bias as key and value. Hugging Face's code and
    NATTEN up to 0.14 do this, so old checkpoints give the numbers that they were published with.
    """

    def __init__(
        self, dim: int, num_heads: int, kernel_size: int, dilation: int, qkv_bias: bool, rel_pos_bias: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.neighborhood = Neighborhood.of((kernel_size,) * 2, (dim // num_heads) ** -0.5, (dilation,) * 2)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.rpb = nn.Parameter(torch.zeros(num_heads, *self.neighborhood.rpb_shape)) if rel_pos_bias else None
        self.projection = nn.Linear(dim, dim)
        self.smallest_map = (0, 0)  # of symbolic sizes; see NeighborhoodAttentionTransformer.assume_smallest_image

    def forward(self, x: Tensor, probe: Probe = no_probe, name: str = "") -> Tensor:
        """Attend; ``name`` is the block's, for probes."""
        neighborhood = self.neighborhood
        padded = pad_to_extents(x, neighborhood.window_extents, self.smallest_map)
        qkv = probe(f"{name}.qkv", self.qkv(padded))
        attended = torch.ops.natdeploy.packed_neighborhood_attention(
            qkv,
            self.rpb,
            self.num_heads,
            neighborhood.kernel_size,
            neighborhood.dilation,
            neighborhood.stride,
            [int(c) for c in neighborhood.is_causal],
            neighborhood.scale,
        )
        attended = probe(f"{name}.attention", attended)
        projected: Tensor = self.projection(attended if padded is x else crop_like(attended, x))
        return projected
