"""NAT, DiNAT, DiNAT-s and the isotropic models: one definition, used as reference and for export alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from natdeploy.errors import NatdeployError
from natdeploy.models.attention import NeighborhoodAttentionLayer
from natdeploy.models.config import ModelConfig
from natdeploy.models.layers import ConvStem, PatchStem, Stage
from natdeploy.models.outputs import default_outputs
from natdeploy.models.probes import Probe, no_probe


class NeighborhoodAttentionTransformer(nn.Module):
    """Stem, stages, norm, mean over pixels, classifier.

    An isotropic model is the case of one stage behind a patch stem.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        if config.layout == "nat":
            self.stem: nn.Module = ConvStem(config.num_channels, config.embed_dim)
        else:
            self.stem = PatchStem(config.num_channels, config.embed_dim, config.patch_size)
        self.stages = nn.ModuleList(Stage(config, i) for i in range(config.num_stages))
        self.feature_norms = nn.ModuleDict(
            {name: nn.LayerNorm(config.feature_dim(name)) for name in config.feature_norms}
        )
        self.norm = nn.LayerNorm(config.num_features, eps=config.layer_norm_eps) if config.final_norm else None
        self.head = nn.Linear(config.num_features, config.num_labels) if config.num_labels else None

    def forward(self, pixel_values: Tensor, outputs: Sequence[str] = (), probe: Probe = no_probe) -> dict[str, Tensor]:
        """Compute the named outputs.

        Args:
            pixel_values: ``[B, channels, H, W]``, any float dtype.
            outputs: Names from :func:`natdeploy.models.outputs.available_outputs`; none means the default ones.
            probe: Called with the name and value of every inner tensor that has a name.

        Returns:
            The outputs by name, in the order asked for.
        """
        wanted = tuple(outputs) or default_outputs(self.config)
        found: dict[str, Tensor] = {}
        x = probe("stem", self.stem(pixel_values))
        self._keep_features(found, wanted, "stem", x)
        self._keep_hidden(found, wanted, 0, x)
        for i, stage in enumerate(self.stages):
            before, x = stage(x, probe)
            self._keep_features(found, wanted, f"stage{i + 1}", before)
            self._keep_hidden(found, wanted, i + 1, x)
        if {"logits", "pooled"} & set(wanted):
            assert self.norm is not None  # checked_outputs refuses both names without a final norm
            pooled = probe("pooled", probe("norm", self.norm(x)).mean((1, 2)))
            found["pooled"] = pooled
            if self.head is not None:
                found["logits"] = self.head(pooled)
        return {name: found[name] for name in wanted}

    def assume_smallest_image(self, height: int, width: int) -> None:
        """Say which images can come, so that an exported graph pads only where some image needs it.

        Eager runs look at the sizes themselves; only symbolic sizes make use of this.
        """

        def keep_map_size(layer: NeighborhoodAttentionLayer, arguments: tuple[Tensor, ...]) -> None:
            sizes[layer] = (arguments[0].shape[1], arguments[0].shape[2])

        sizes: dict[NeighborhoodAttentionLayer, tuple[int, int]] = {}
        with torch.device("meta"):
            skeleton = NeighborhoodAttentionTransformer(self.config)
            layers = [m for m in skeleton.modules() if isinstance(m, NeighborhoodAttentionLayer)]
            for layer in layers:
                layer.register_forward_pre_hook(keep_map_size)
            skeleton(torch.empty(1, self.config.num_channels, height, width))
        own = [m for m in self.modules() if isinstance(m, NeighborhoodAttentionLayer)]
        for layer, twin in zip(own, layers, strict=True):
            layer.smallest_map = sizes[twin]

    def _keep_features(self, found: dict[str, Tensor], wanted: Sequence[str], name: str, x: Tensor) -> None:
        if (output := f"feature_maps.{name}") in wanted:
            found[output] = self.feature_norms[name](x).permute(0, 3, 1, 2)

    def _keep_hidden(self, found: dict[str, Tensor], wanted: Sequence[str], number: int, x: Tensor) -> None:
        if (output := f"hidden_states.{number}") in wanted:
            found[output] = x
        if (output := f"reshaped_hidden_states.{number}") in wanted:
            found[output] = x.permute(0, 3, 1, 2)


def checked_config(config: ModelConfig) -> ModelConfig:
    """Give ``config`` back if it describes a model.

    Raises:
        NatdeployError: With every problem of the configuration.
    """
    if problems := config.problems():
        raise NatdeployError("this configuration describes no model", got="; ".join(problems))
    return config
