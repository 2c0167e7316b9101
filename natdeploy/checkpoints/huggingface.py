"""Hugging Face directories: ``config.json`` with ``model_type`` ``nat`` or ``dinat``, safetensors or bin beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.checkpoints.checkpoint import Checkpoint
from natdeploy.checkpoints.files import read_json, tensors_from_files
from natdeploy.checkpoints.renames import HUGGING_FACE, renamed
from natdeploy.errors import NatdeployError
from natdeploy.models.config import ModelConfig
from natdeploy.preprocessing import Preprocessing, preprocessing_from_huggingface

if TYPE_CHECKING:
    from torch import Tensor

MODEL_TYPES = ("nat", "dinat")

# transformers 4.40.2: a config.json leaves out what equals the class default, so these are the defaults.
_DEFAULTS: dict[str, Any] = {
    "patch_size": 4,
    "num_channels": 3,
    "embed_dim": 64,
    "depths": [3, 4, 6, 5],
    "num_heads": [2, 4, 8, 16],
    "kernel_size": 7,
    "dilations": [[1, 8, 1], [1, 4, 1, 4], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1]],
    "mlp_ratio": 3.0,
    "qkv_bias": True,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "layer_scale_init_value": 0.0,
}


def checkpoint_from_huggingface(directory: Path, document: Mapping[str, Any], source: str) -> Checkpoint:
    """Read a directory whose ``config.json`` (already read: ``document``) has one of :data:`MODEL_TYPES`.

    Raises:
        NatdeployError: If weights are missing or unreadable, or the configuration describes no model.
    """
    stored = tensors_from_files(directory)
    tensors = _canonical_tensors(stored)
    config, labels = config_from_huggingface(document, tensors, source)
    preprocessor = directory / "preprocessor_config.json"
    preprocessing = (
        preprocessing_from_huggingface(read_json(preprocessor), str(preprocessor))
        if preprocessor.exists()
        else Preprocessing.of_imagenet(config.image_size)
    )
    return Checkpoint(config, tensors, preprocessing, labels, source=source)


def config_from_huggingface(
    document: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str
) -> tuple[ModelConfig, tuple[str, ...]]:
    """Translate ``config.json``; what the weights know better (classifier, norms of feature maps) is read off them.

    Returns:
        The configuration and the class names.
    """
    values = {**_DEFAULTS, **document}
    if values["patch_size"] != 4:
        raise NatdeployError(
            f"{source}: patch_size {values['patch_size']} is not supported",
            needed="patch_size 4, the only one that NAT and DiNAT have",
        )
    try:
        depths = tuple(int(d) for d in values["depths"])
        nested = values["dilations"] if values["model_type"] == "dinat" else [[1] * d for d in depths]
        head = tensors.get("head.weight")
        norms = {name.split(".")[1] for name in tensors if name.startswith("feature_norms.")}
        config = ModelConfig(
            family=values["model_type"],
            layout="nat",
            embed_dim=int(values["embed_dim"]),
            depths=depths,
            num_heads=tuple(int(h) for h in values["num_heads"]),
            dilations=tuple(tuple(int(d) for d in stage) for stage in nested),
            kernel_size=int(values["kernel_size"]),
            mlp_ratio=float(values["mlp_ratio"]),
            layer_scale=float(values["layer_scale_init_value"]) > 0,
            qkv_bias=bool(values["qkv_bias"]),
            hidden_act=str(values["hidden_act"]),
            layer_norm_eps=float(values["layer_norm_eps"]),
            num_channels=int(values["num_channels"]),
            num_labels=0 if head is None else len(head),
            feature_norms=tuple(sorted(norms, key=lambda name: (name != "stem", name))),
            final_norm="norm.weight" in tensors,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise NatdeployError(f"{source}: config.json has a field of the wrong kind", got=str(error)) from error
    return config, _labels(values, config.num_labels)


def _labels(values: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Class names in index order; none where the file's list does not fit the classifier."""
    names = values.get("id2label") or {}
    if not isinstance(names, Mapping) or {str(i) for i in range(count)} != {str(k) for k in names}:
        return ()
    by_index = {int(k): str(v) for k, v in names.items()}
    return tuple(by_index[i] for i in range(count))


def _canonical_tensors(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, pack query, key and value into qkv, part layer_scale_parameters into its two vectors."""
    import torch

    tensors: dict[str, Tensor] = {}
    for original, tensor in stored.items():
        name = renamed(re.sub(r"^(nat|dinat)\.", "", original), HUGGING_FACE)
        if name.endswith(".layer_scale_parameters") and tensor.ndim == 2 and len(tensor) == 2:
            block = name.removesuffix(".layer_scale_parameters")
            tensors[f"{block}.attention_scale"], tensors[f"{block}.mlp_scale"] = tensor[0], tensor[1]
        else:
            tensors[name] = tensor
    for name in [name for name in tensors if ".attention.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in tensors for part in parts):  # otherwise the model reports what is missing
            tensors[name.replace(".query.", ".qkv.")] = torch.cat([tensors.pop(part) for part in parts])
    return tensors
