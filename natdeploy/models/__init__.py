"""The models: one definition per layout, configured by data (config.py), published variants by name (variants.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from natdeploy.models.config import ModelConfig as ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

    from natdeploy.models.hierarchical import NeighborhoodAttentionTransformer


def model_from_weights(config: ModelConfig, tensors: Mapping[str, Tensor]) -> NeighborhoodAttentionTransformer:
    """Build a model in eval mode around ``tensors`` (canonical names; they are used as they are, not copied).

    Raises:
        NatdeployError: With every problem of the configuration, and every missing, unexpected or mis-shaped tensor.
    """
    import torch

    from natdeploy.checkpoints.matching import check_tensors
    from natdeploy.models.hierarchical import NeighborhoodAttentionTransformer, checked_config

    with torch.device("meta"):  # no memory and no initialisation: every parameter is replaced below
        model = NeighborhoodAttentionTransformer(checked_config(config))
    check_tensors(model.state_dict(), tensors)
    model.load_state_dict(dict(tensors), assign=True)
    return model.eval().requires_grad_(False)
