"""A checkpoint in memory: what every reader in this folder gives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from natdeploy.models.config import ModelConfig
from natdeploy.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """Configuration and weights, with what travels beside them.

    Args:
        config: The model.
        tensors: Weights, by our names (``NeighborhoodAttentionTransformer.state_dict``), float32.
        preprocessing: How images become ``pixel_values``.
        labels: Class names by index; empty where the checkpoint has none.
        variant: Name of the published variant, where it is known to be one.
        source: Where it came from, as the user would say it: no path of this machine.
    """

    config: ModelConfig
    tensors: Mapping[str, Tensor] = field(repr=False)
    preprocessing: Preprocessing
    labels: tuple[str, ...] = ()
    variant: str | None = None
    source: str = ""

    @property
    def sha256(self) -> str:
        """Hash of the weights: names, shapes and float32 values, independent of the file format they came in."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name].detach().float().contiguous()
            digest.update(f"{name} {list(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()
