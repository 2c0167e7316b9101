"""Do these tensors fit this model? All problems are collected and reported together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from natdeploy.errors import NatdeployError

if TYPE_CHECKING:
    from torch import Tensor

    from natdeploy.models.config import ModelConfig

_SHOWN = 5  # names listed per kind of problem; the rest is counted


def expected_tensors(config: ModelConfig, source: str = "the checkpoint") -> dict[str, Tensor]:
    """Give the names and shapes (on the meta device: no memory) of a model's weights.

    Raises:
        NatdeployError: With every problem of the configuration.
    """
    if problems := config.problems():
        raise NatdeployError(f"the configuration of {source} describes no model", got="; ".join(problems))
    import torch

    from natdeploy.models.hierarchical import NeighborhoodAttentionTransformer

    with torch.device("meta"):
        return NeighborhoodAttentionTransformer(config).state_dict()


def tensor_problems(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], check_values: bool = True
) -> list[str]:
    """Compare names, shapes and (``check_values``) values with what the model needs; one entry per kind of problem."""
    import torch

    both = expected.keys() & found.keys()
    mis_shaped = [
        f"{name} is {list(found[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(both)
        if found[name].shape != expected[name].shape
    ]
    not_finite = [name for name in sorted(both) if check_values and not bool(torch.isfinite(found[name]).all())]
    no_floats = [f"{name} is {found[name].dtype}" for name in sorted(both) if not found[name].is_floating_point()]
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "wrong shape": mis_shaped,
        "without floating point": no_floats,  # quantised, or damaged: numbers that mean nothing without their scale
        "NaN or infinite": not_finite,
    }
    return [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names]


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str = "the checkpoint") -> None:
    """Raise one error that lists every missing, unexpected, mis-shaped or non-finite tensor.

    Raises:
        NatdeployError: If there is any.
    """
    if problems := tensor_problems(expected, found):
        raise NatdeployError(
            f"the tensors of {source} do not fit its model",
            got="; ".join(problems),
            next_step="Check that the configuration (or --variant) is the one that these weights were trained with",
        )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
