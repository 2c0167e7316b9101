"""What a model is, apart from its weights: one frozen dataclass for every family."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Layout = Literal["nat", "swin", "isotropic"]

# Activations of Hugging Face's configs that these checkpoints may name; models/layers.py has the functions.
ACTIVATIONS = (
    "gelu",
    "gelu_new",
    "gelu_pytorch_tanh",
    "quick_gelu",
    "relu",
    "silu",
    "swish",
    "tanh",
    "sigmoid",
    "mish",
)

MIN_IMAGE_SIZE = 32  # five halvings: the last stage's map is at least one pixel

# Beyond these a number is damage, and tensors would have more than 2^63 bytes, which not even torch's meta device can
# describe. Published models reach 4 stages, windows of 13, 1536 channels and patches of 16.
_MOST_STAGES = 16
_WIDEST = 1_000_000
_LARGEST_WINDOW = 16384
_LARGEST_PATCH = 1024


@dataclass(frozen=True)
class ModelConfig:
    """Everything about a model that is not a weight.

    Args:
        family: Name of the family, as people say it: ``nat``, ``dinat``, ``dinat_s``, ``nat_isotropic``,
            ``dinat_isotropic``, ``vitrpb``.
        layout: ``nat`` (overlapping convolutions), ``swin`` (patch embedding and patch merging, DiNAT-s) or
            ``isotropic`` (one stage on a fixed map).
        embed_dim: Channels of the first stage; doubles with every stage.
        depths: Blocks per stage.
        num_heads: Heads per stage.
        dilations: Dilation of every block, stage by stage.
        kernel_size: Window extent (the same for both axes, as in every published model).
        mlp_ratio: Hidden width of the MLP over its width.
        layer_scale: Whether blocks scale their branches by learned vectors.
        qkv_bias: Whether the qkv projection has a bias.
        rel_pos_bias: Whether attention has a relative positional bias.
        hidden_act: Activation of the MLP, by Hugging Face's name.
        layer_norm_eps: Epsilon of the norms inside blocks and of the final norm (the stem's, the downsamplers' and
            the feature maps' norms always have 1e-5, as in Hugging Face's code).
        num_channels: Channels of the image.
        num_labels: Classes; 0 without a classifier.
        feature_norms: Feature maps (``stem``, ``stage1`` ...) that have a norm of their own.
        final_norm: Whether there is a norm after the last stage (backbones have none).
        image_size: Square size the checkpoint was trained for, in pixels; isotropic models take no other.
        patch_size: Patch of the stem, in pixels (``swin`` and ``isotropic``; ``nat`` always reduces by 4).
    """

    family: str
    layout: Layout
    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    dilations: tuple[tuple[int, ...], ...]
    kernel_size: int = 7
    mlp_ratio: float = 4.0
    layer_scale: bool = False
    qkv_bias: bool = True
    rel_pos_bias: bool = True
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    num_channels: int = 3
    num_labels: int = 1000
    feature_norms: tuple[str, ...] = ()
    final_norm: bool = True
    image_size: int = 224
    patch_size: int = 4

    @property
    def num_stages(self) -> int:
        """Number of stages; feature maps are the stem's and one per stage."""
        return len(self.depths)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of all feature maps, in order: ``stem``, ``stage1`` ..."""
        return ("stem", *(f"stage{i + 1}" for i in range(self.num_stages)))

    def stage_dim(self, stage: int) -> int:
        """Channels of a stage, counted from 0."""
        return self.embed_dim * (1 if self.layout == "isotropic" else 2**stage)

    @property
    def num_features(self) -> int:
        """Channels after the last stage."""
        return self.stage_dim(self.num_stages - 1)

    def feature_dim(self, name: str) -> int:
        """Channels of a feature map, by name."""
        return self.embed_dim if name == "stem" else self.stage_dim(int(name.removeprefix("stage")) - 1)

    def problems(self) -> list[str]:
        """List all that makes this no valid model; empty when it is one."""
        return self._number_problems() or [*self._stage_problems(), *self._block_problems()]

    def _number_problems(self) -> list[str]:
        """List numbers that nothing can be computed with."""
        found = [f"{name} has {len(getattr(self, name))} stages, depths has {self.num_stages}"
                 for name in ("num_heads", "dilations") if len(getattr(self, name)) != self.num_stages]  # fmt: skip
        positive = {name: getattr(self, name) for name in ("embed_dim", "kernel_size", "num_channels", "patch_size")}
        positive |= {f"depths[{i}]": d for i, d in enumerate(self.depths)}
        positive |= {f"num_heads[{i}]": h for i, h in enumerate(self.num_heads)}
        found += [f"{name} is {value}; it must be positive" for name, value in positive.items() if value < 1]
        largest = {
            "number of stages": (self.num_stages, _MOST_STAGES),
            "kernel_size": (self.kernel_size, _LARGEST_WINDOW),
            "patch_size": (self.patch_size, _LARGEST_PATCH),
        }
        found += [f"{name} is {got}; it can be {most} at most" for name, (got, most) in largest.items() if got > most]
        return found

    def _stage_problems(self) -> list[str]:
        found = []
        if self.num_features > _WIDEST:
            found.append(f"stage {self.num_stages} has {self.num_features} channels; it can have {_WIDEST} at most")
        for i, (depth, heads, dilations) in enumerate(zip(self.depths, self.num_heads, self.dilations, strict=True)):
            if len(dilations) != depth:
                found.append(f"stage {i + 1} has {depth} blocks and {len(dilations)} dilations")
            if any(d < 1 for d in dilations):
                found.append(f"stage {i + 1} has dilations {list(dilations)}; they must be positive")
            if self.stage_dim(i) % heads:
                found.append(f"stage {i + 1}: {self.stage_dim(i)} channels are not divisible by {heads} heads")
        if unknown := set(self.feature_norms) - set(self.feature_names):
            found.append(f"feature maps {sorted(unknown)} are none of {', '.join(self.feature_names)}")
        return found

    def _block_problems(self) -> list[str]:
        found = []
        if self.layout not in get_args(Layout):
            found.append(f"layout '{self.layout}' is none of {', '.join(get_args(Layout))}")
        if self.hidden_act not in ACTIVATIONS:
            found.append(f"hidden_act '{self.hidden_act}' is none of {', '.join(ACTIVATIONS)}")
        if not (math.isfinite(self.mlp_ratio) and self.mlp_ratio > 0):
            found.append(f"mlp_ratio {self.mlp_ratio} must be positive")
        elif int(self.embed_dim * self.mlp_ratio) < 1:
            found.append(f"mlp_ratio {self.mlp_ratio} leaves no hidden channel of {self.embed_dim}")
        if not (math.isfinite(self.layer_norm_eps) and self.layer_norm_eps >= 0):
            found.append(f"layer_norm_eps {self.layer_norm_eps} must not be negative")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, every field."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelConfig:
        """Read what :meth:`to_json` wrote; fields that this version does not know are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{k: _frozen(v) for k, v in document.items() if k in known})


def _frozen(value: Any) -> Any:
    """Turn lists into tuples, all the way down."""
    return tuple(_frozen(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else value
