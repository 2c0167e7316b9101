"""From the names of published checkpoints to ours: data, not code.

Each table is a list of (pattern, replacement), applied in order to the whole name; ``#`` stands for a number and keeps
its place. A name that no row changes is already ours, or is reported as unexpected by the model.
"""

from __future__ import annotations

import re

Renames = tuple[tuple[str, str], ...]

# SHI-Labs/Neighborhood-Attention-Transformer, classification/{nat,dinat,dinats,isotropic}.py
ORIGINAL: Renames = (
    ("patch_embed.proj.", "stem.projection."),
    ("patch_embed.norm.", "stem.norm."),
    ("levels.#.blocks.#.", "stages.#.blocks.#."),
    ("levels.#.downsample.", "stages.#.downsample."),
    ("layers.#.blocks.#.", "stages.#.blocks.#."),
    ("layers.#.downsample.", "stages.#.downsample."),
    ("layers.#.", "stages.0.blocks.#."),  # isotropic: one stage
    (".norm1.", ".attention_norm."),
    (".norm2.", ".mlp_norm."),
    (".attn.proj.", ".attention.projection."),
    (".attn.", ".attention."),
    (".mlp.fc1.", ".mlp.0."),
    (".mlp.fc2.", ".mlp.2."),
    (".gamma1", ".attention_scale"),
    (".gamma2", ".mlp_scale"),
)

# transformers 4.40.2, models/{nat,dinat}/modeling_*.py, after the prefix "nat." or "dinat." is taken off; split
# query, key and value, and the two rows of layer_scale_parameters, are joined and parted in huggingface.py.
HUGGING_FACE: Renames = (
    ("embeddings.patch_embeddings.", "stem."),
    ("embeddings.norm.", "stem.norm."),
    ("encoder.levels.#.layers.#.", "stages.#.blocks.#."),
    ("encoder.levels.#.downsample.", "stages.#.downsample."),
    (".layernorm_before.", ".attention_norm."),
    (".layernorm_after.", ".mlp_norm."),
    (".attention.self.", ".attention."),
    (".attention.output.dense.", ".attention.projection."),
    (".intermediate.dense.", ".mlp.0."),
    (".output.dense.", ".mlp.2."),
    ("hidden_states_norms.", "feature_norms."),
    ("layernorm.", "norm."),
    ("classifier.", "head."),
)


def renamed(name: str, renames: Renames) -> str:
    """Translate one tensor name."""
    for pattern, replacement in renames:
        anchored = "" if pattern.startswith(".") else "^"
        regex = anchored + re.escape(pattern).replace(r"\#", "#").replace("#", r"(\d+)")
        numbers = iter(range(1, 10))
        name = re.sub(regex, re.sub("#", lambda _, n=numbers: rf"\g<{next(n)}>", replacement), name)  # type: ignore[misc]
    return name
