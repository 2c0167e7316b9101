"""What the layouts are built of: stems, blocks, downsamplers. Maps are ``[B, H, W, C]`` everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from natdeploy.models.attention import NeighborhoodAttentionLayer
from natdeploy.models.config import ModelConfig
from natdeploy.models.probes import Probe, no_probe
from natdeploy.models.sizes import pad_to_multiple


class _QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)  # Hugging Face's constant


# By Hugging Face's names (config.ACTIVATIONS lists them without importing torch).
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate="tanh"),
    "gelu_pytorch_tanh": partial(nn.GELU, approximate="tanh"),
    "quick_gelu": _QuickGelu,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "mish": nn.Mish,
}


class ConvStem(nn.Module):
    """Two overlapping stride-2 convolutions, then a norm: ``[B, channels, H, W]`` to ``[B, ~H/4, ~W/4, dim]``."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Sequential(
            nn.Conv2d(channels, dim // 2, 3, stride=2, padding=1),
            nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embed an image."""
        normed: Tensor = self.norm(self.projection(pixel_values).permute(0, 2, 3, 1))
        return normed


class PatchStem(nn.Module):
    """Non-overlapping patches, zero-padded to a whole number: ``[B, channels, H, W]`` to ``[B, H/p, W/p, dim]``."""

    def __init__(self, channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(channels, dim, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embed an image; a partial patch at the border counts as zeros beyond it."""
        whole = pad_to_multiple(pixel_values, self.patch_size, first_axis=2)
        normed: Tensor = self.norm(self.projection(whole).permute(0, 2, 3, 1))
        return normed


class ConvDownsampler(nn.Module):
    """Overlapping stride-2 convolution without bias, then a norm; doubles the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the map."""
        normed: Tensor = self.norm(self.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return normed


class PatchMerging(nn.Module):
    """Swin's downsampler: merge 2x2 patches (odd maps are padded), norm, project to twice the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the map."""
        cut = pad_to_multiple(x, 2, first_axis=1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # [B, H, 2, W, 2, C]
        merged = cut.permute(0, 1, 3, 4, 2, 5).flatten(3)  # in a patch the column varies slower, as in Swin
        reduced: Tensor = self.reduction(self.norm(merged))
        return reduced


class Block(nn.Module):
    """Pre-norm transformer block: attention and MLP, each with a residual and an optional layer scale."""

    def __init__(self, config: ModelConfig, dim: int, num_heads: int, dilation: int) -> None:
        super().__init__()
        hidden = int(dim * config.mlp_ratio)
        self.attention_norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.attention = NeighborhoodAttentionLayer(
            dim, num_heads, config.kernel_size, dilation, config.qkv_bias, config.rel_pos_bias
        )
        self.mlp_norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), _ACTIVATIONS[config.hidden_act](), nn.Linear(hidden, dim))
        self.attention_scale = nn.Parameter(torch.ones(dim)) if config.layer_scale else None
        self.mlp_scale = nn.Parameter(torch.ones(dim)) if config.layer_scale else None

    def forward(self, x: Tensor, probe: Probe = no_probe, name: str = "") -> Tensor:
        """Run the block; ``name`` (``stage2.block3``) is for probes."""
        branch = self.attention(self.attention_norm(x), probe, name)
        x = x + (branch if self.attention_scale is None else self.attention_scale * branch)
        branch = probe(f"{name}.mlp", self.mlp(self.mlp_norm(x)))
        x = x + (branch if self.mlp_scale is None else self.mlp_scale * branch)
        return probe(f"{name}.output", x)


class Stage(nn.Module):
    """The blocks of one stage and, but for the last, a downsampler."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        dim = config.stage_dim(index)
        self.name = f"stage{index + 1}"
        self.blocks = nn.ModuleList(Block(config, dim, config.num_heads[index], d) for d in config.dilations[index])
        downsampler = PatchMerging if config.layout == "swin" else ConvDownsampler
        self.downsample = downsampler(dim) if index + 1 < config.num_stages else None

    def forward(self, x: Tensor, probe: Probe = no_probe) -> tuple[Tensor, Tensor]:
        """Give the map after the blocks, and the same after downsampling."""
        for i, block in enumerate(self.blocks):
            x = block(x, probe, f"{self.name}.block{i + 1}")
        return x, x if self.downsample is None else probe(f"{self.name}.downsample", self.downsample(x))
