"""Every published variant, by name: configuration, preprocessing recipe, and where the figures come from.

Configurations: ``classification/{nat,dinat,dinats,isotropic}.py`` of SHI-Labs/Neighborhood-Attention-Transformer at
d334f5bb. Two traps: ``nat_small`` has layer scale and ``dinat_small`` has none; ``*_11x11`` keeps the 224 px
dilations at 384 px.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from natdeploy.errors import NatdeployError
from natdeploy.models.config import ModelConfig

Dilations = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Variant:
    """One published checkpoint family member.

    Args:
        config: The model.
        crop_fraction: Share of the resized image that the centre crop keeps (timm's ``crop_pct``; timm's default
            0.875 unless the authors' config file says 1.0).
        params_m: Published parameter count in millions (None where none was published).
    """

    config: ModelConfig
    crop_fraction: float = 0.875
    params_m: float | None = None


def _dilations(depths: tuple[int, ...], largest: tuple[int, ...]) -> Dilations:
    """Alternate 1 and the stage's largest dilation, beginning with 1 (every published DiNAT does)."""
    return tuple(tuple(d if i % 2 else 1 for i in range(n)) for n, d in zip(depths, largest, strict=True))


_NONE = (1, 1, 1, 1)
_AT_224 = (8, 4, 2, 1)  # kernel 7 * dilation = the map's side at 224 px: 56, 28, 14, 7
_AT_384 = (13, 6, 3, 1)

_MINI, _TINY = (3, 4, 6, 5), (3, 4, 18, 5)
_S_TINY, _S_SMALL = (2, 2, 6, 2), (2, 2, 18, 2)


def _hierarchical(
    family: str,
    depths: tuple[int, ...],
    dim: int,
    mlp_ratio: float,
    largest: tuple[int, ...] = _NONE,
    **extra: Any,
) -> ModelConfig:
    return ModelConfig(
        family=family,
        layout="swin" if family == "dinat_s" else "nat",
        embed_dim=dim,
        depths=depths,
        num_heads=tuple(dim // 32 * 2**i for i in range(4)),  # head_dim is 32 in every published model
        dilations=_dilations(depths, largest),
        mlp_ratio=mlp_ratio,
        **extra,
    )


def _isotropic(family: str, dim: int, kernel_size: int = 7, dilation: int = 1) -> ModelConfig:
    return ModelConfig(
        family=family,
        layout="isotropic",
        embed_dim=dim,
        depths=(12,),
        num_heads=(dim // 32,),
        dilations=_dilations((12,), (dilation,)),
        kernel_size=kernel_size,
        patch_size=16,
    )


_LARGE: dict[str, Any] = {"depths": _TINY, "dim": 192, "mlp_ratio": 2.0}
_S_LARGE: dict[str, Any] = {"depths": _S_SMALL, "dim": 192, "mlp_ratio": 4.0}
_IN22K = 21841

VARIANTS: dict[str, Variant] = {
    "nat_mini": Variant(_hierarchical("nat", _MINI, 64, 3.0), params_m=20),
    "nat_tiny": Variant(_hierarchical("nat", _TINY, 64, 3.0), params_m=28),
    "nat_small": Variant(_hierarchical("nat", _TINY, 96, 2.0, layer_scale=True), params_m=51),
    "nat_base": Variant(_hierarchical("nat", _TINY, 128, 2.0, layer_scale=True), params_m=90),
    "dinat_mini": Variant(_hierarchical("dinat", _MINI, 64, 3.0, _AT_224), params_m=20),
    "dinat_tiny": Variant(_hierarchical("dinat", _TINY, 64, 3.0, _AT_224), params_m=28),
    "dinat_small": Variant(_hierarchical("dinat", _TINY, 96, 2.0, _AT_224), params_m=51),
    "dinat_base": Variant(_hierarchical("dinat", _TINY, 128, 2.0, _AT_224, layer_scale=True), params_m=90),
    "dinat_large": Variant(_hierarchical("dinat", **_LARGE, largest=_AT_224), params_m=200),
    "dinat_large_384": Variant(
        _hierarchical("dinat", **_LARGE, largest=_AT_384, image_size=384), crop_fraction=1.0, params_m=200
    ),
    "dinat_large_384_11x11": Variant(
        _hierarchical("dinat", **_LARGE, largest=_AT_224, image_size=384, kernel_size=11),
        crop_fraction=1.0,
        params_m=200,
    ),
    "dinat_large_21k": Variant(_hierarchical("dinat", **_LARGE, largest=_AT_224, num_labels=_IN22K)),
    "dinat_large_21k_11x11": Variant(
        _hierarchical("dinat", **_LARGE, largest=_AT_224, num_labels=_IN22K, kernel_size=11)
    ),
    "dinat_s_tiny": Variant(_hierarchical("dinat_s", _S_TINY, 96, 4.0, _AT_224), params_m=28),
    "dinat_s_small": Variant(_hierarchical("dinat_s", _S_SMALL, 96, 4.0, _AT_224), params_m=50),
    "dinat_s_base": Variant(_hierarchical("dinat_s", _S_SMALL, 128, 4.0, _AT_224), params_m=88),
    "dinat_s_large": Variant(_hierarchical("dinat_s", **_S_LARGE, largest=_AT_224), params_m=197),
    "dinat_s_large_384": Variant(
        _hierarchical("dinat_s", **_S_LARGE, largest=_AT_384, image_size=384), crop_fraction=1.0, params_m=197
    ),
    "dinat_s_large_21k": Variant(_hierarchical("dinat_s", **_S_LARGE, largest=_AT_224, num_labels=_IN22K)),
    "nat_isotropic_small": Variant(_isotropic("nat_isotropic", 384), params_m=22),
    "nat_isotropic_base": Variant(_isotropic("nat_isotropic", 768), params_m=86),
    "dinat_isotropic_small": Variant(_isotropic("dinat_isotropic", 384, dilation=2), params_m=22),
    "dinat_isotropic_base": Variant(_isotropic("dinat_isotropic", 768, dilation=2), params_m=86),
    # Full attention with a relative positional bias is neighborhood attention whose window is the whole 14x14 map; the
    # authors' flipped bias lookup (isotropic.py:46) equals neighbour - token + 13.
    "vitrpb_small": Variant(_isotropic("vitrpb", 384, kernel_size=14), params_m=22),
    "vitrpb_base": Variant(_isotropic("vitrpb", 768, kernel_size=14), params_m=86),
}


def variant_named(name: str) -> Variant:
    """Look up a published variant.

    Raises:
        NatdeployError: If there is none of that name; suggests the closest ones.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    likely = difflib.get_close_matches(name.lower().replace("-", "_"), VARIANTS, n=3)
    raise NatdeployError(
        f"'{name}' is no published variant",
        needed=f"one of {', '.join(VARIANTS)}",
        next_step=f"Did you mean {' or '.join(likely)}?" if likely else None,
    )
