"""The outputs that a model can give, by name (docs/design.md §4), and which of them a checkpoint supports."""

from __future__ import annotations

from collections.abc import Sequence

from natdeploy.errors import NatdeployError
from natdeploy.models.config import ModelConfig


def available_outputs(config: ModelConfig) -> tuple[str, ...]:
    """Name every output of a model, most wanted first.

    ``logits`` ``[B, num_labels]``; ``pooled`` ``[B, C]``; ``feature_maps.NAME`` ``[B, C, H, W]``, before downsampling
    and through the backbone's own norm; ``hidden_states.N`` ``[B, H, W, C]`` and ``reshaped_hidden_states.N``
    ``[B, C, H, W]``, N as Hugging Face counts: 0 the stem, i after stage i *and its downsampling*.
    """
    numbers = range(config.num_stages + 1)
    return (
        *(["logits"] if config.num_labels else []),
        *(["pooled"] if config.final_norm else []),
        *(f"feature_maps.{name}" for name in config.feature_names if name in config.feature_norms),
        *(f"hidden_states.{n}" for n in numbers),
        *(f"reshaped_hidden_states.{n}" for n in numbers),
    )


def default_outputs(config: ModelConfig) -> tuple[str, ...]:
    """Give the outputs of a plain export: the logits, or, without a classifier, the feature maps."""
    if config.num_labels:
        return ("logits",)
    maps = tuple(name for name in available_outputs(config) if name.startswith("feature_maps."))
    return maps or ("pooled",) if config.final_norm or maps else (f"hidden_states.{config.num_stages}",)


def checked_outputs(config: ModelConfig, names: Sequence[str]) -> tuple[str, ...]:
    """Give ``names`` back, or explain all that is wrong with them.

    Raises:
        NatdeployError: For a name that this checkpoint cannot give, or one given twice.
    """
    if not names:
        return default_outputs(config)
    available = available_outputs(config)
    problems = [_why_not(name, config) for name in dict.fromkeys(names) if name not in available]
    problems += [f"'{name}' is asked for twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise NatdeployError(
            "cannot give the requested outputs",
            got="; ".join(problems),
            needed=f"any of {', '.join(available)}",
        )
    return tuple(names)


def _why_not(name: str, config: ModelConfig) -> str:
    stage = name.removeprefix("feature_maps.")
    if name != stage and stage in config.feature_names:
        return (
            f"'{name}': this checkpoint has no norm for it (only backbone checkpoints do, for the stages in their "
            f"out_features); 'reshaped_hidden_states.N' is what it has without norm"
        )
    if name == "logits":
        return "'logits': this checkpoint has no classifier"
    if name == "pooled":
        return "'pooled': this checkpoint has no final norm"
    return f"'{name}' is no output of this model"
