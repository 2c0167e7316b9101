"""The attention layers that times are about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """One attention layer: a square window over a packed map with a bias table.

    Args:
        name: For people.
        height: Of the map.
        width: Of the map.
        heads: Number of heads.
        head_dim: Channels per head.
        kernel_size: Along both axes.
        dilation: Along both axes.
        batch: Images.
        dtype: Of qkv and output.
    """

    name: str
    height: int
    width: int
    heads: int
    head_dim: int = 32
    kernel_size: int = 7
    dilation: int = 1
    batch: int = 128
    dtype: str = "float16"

    @property
    def compulsory_bytes(self) -> int:
        """Bytes that any implementation moves: qkv and the bias table read once, the output written once."""
        element = 4 if self.dtype == "float32" else 2
        tokens = self.batch * self.height * self.width
        return 4 * tokens * self.heads * self.head_dim * element + self.heads * (2 * self.kernel_size - 1) ** 2 * 4


# nat_mini at 224x224, and the dilated layers of dinat_mini, whose dilation groups are 7x7 maps (14x14 in stage 3).
STAGES = (
    Workload("nat_mini stage 1", 56, 56, heads=2),
    Workload("nat_mini stage 2", 28, 28, heads=4),
    Workload("nat_mini stage 3", 14, 14, heads=8),
    Workload("nat_mini stage 4", 7, 7, heads=16),
    Workload("dinat_mini stage 1, dilation 8", 56, 56, heads=2, dilation=8),
    Workload("dinat_mini stage 2, dilation 4", 28, 28, heads=4, dilation=4),
    Workload("dinat_mini stage 3, dilation 2", 14, 14, heads=8, dilation=2),
)
