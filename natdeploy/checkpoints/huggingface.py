"""Hugging Face directories: ``config.json`` with ``model_type`` ``nat`` or ``dinat``, safetensors or bin beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.checkpoints.checkpoint import Checkpoint
from natdeploy.checkpoints.fields import Fields, labels_from_config
from natdeploy.checkpoints.files import read_json, tensors_from_files, uniquely_named
from natdeploy.checkpoints.preprocessor_config import preprocessing_from_huggingface
from natdeploy.checkpoints.renames import HUGGING_FACE, renamed
from natdeploy.models.config import ModelConfig
from natdeploy.preprocessing import Preprocessing

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
    tensors = _canonical_tensors(tensors_from_files(directory), source)
    config = config_from_huggingface(document, tensors, source)
    preprocessing = preprocessing_of_directory(directory, config)
    config = replace(config, image_size=min(preprocessing.crop_size))
    return Checkpoint(config, tensors, preprocessing, labels_from_config(document, config.num_labels), source=source)


def config_from_huggingface(document: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> ModelConfig:
    """Translate ``config.json``; what the weights know better (classifier, norms of feature maps) is read off them.

    Raises:
        NatdeployError: With every field that has a wrong or unsupported value.
    """
    fields = Fields(document, _DEFAULTS)
    fields.must_be("patch_size", 4)  # the only one that NAT and DiNAT have
    dilated = document["model_type"] == "dinat"
    depths = fields.depths("depths")
    num_labels = classes_of(tensors)
    if num_labels and document.get("num_labels", num_labels) != num_labels:
        fields.problems.append(f"num_labels is {document['num_labels']!r}, the classifier has {num_labels} classes")
    image_size = document.get("image_size")  # no field of theirs, but some files have it
    norms = {name.split(".")[1] for name in tensors if name.startswith("feature_norms.")}
    config = ModelConfig(
        family=document["model_type"],
        layout="nat",
        embed_dim=fields.integer("embed_dim"),
        depths=depths,
        num_heads=fields.integers("num_heads"),
        dilations=fields.dilations("dilations", depths) if dilated else tuple((1,) * depth for depth in depths),
        kernel_size=fields.integer("kernel_size"),
        mlp_ratio=fields.number("mlp_ratio"),
        layer_scale=fields.number("layer_scale_init_value") > 0,
        qkv_bias=fields.flag("qkv_bias"),
        hidden_act=fields.text("hidden_act"),
        layer_norm_eps=fields.number("layer_norm_eps"),
        num_channels=fields.integer("num_channels"),
        num_labels=num_labels,
        feature_norms=tuple(sorted(norms, key=lambda name: (name != "stem", name))),
        # A classifier stands on the norm: where that is missing, the tensors are incomplete and reported so.
        final_norm=num_labels > 0 or "norm.weight" in tensors,
        image_size=image_size if isinstance(image_size, int) and image_size > 0 else 224,
    )
    fields.check(f"config.json of {source} describes no model that is supported")
    return config


def classes_of(tensors: Mapping[str, Tensor]) -> int:
    """Number of classes that the classifier among ``tensors`` (our names) has; 0 without one."""
    head = tensors.get("head.weight")
    return 0 if head is None or head.ndim == 0 else len(head)


def preprocessing_of_directory(
    directory: Path, config: ModelConfig, published: Preprocessing | None = None
) -> Preprocessing:
    """Read ``preprocessor_config.json``; without one, the published recipe of models of this size.

    Raises:
        NatdeployError: If the file is unreadable or describes what is not supported.
    """
    path = directory / "preprocessor_config.json"
    if path.exists():
        return preprocessing_from_huggingface(read_json(path), str(path), config.num_channels)
    return published or Preprocessing.of_imagenet(config.image_size, num_channels=config.num_channels)


def _canonical_tensors(stored: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename, pack query, key and value into qkv, part layer_scale_parameters into its two vectors."""
    import torch

    pairs: list[tuple[str, Tensor]] = []
    for original, tensor in stored.items():
        name = renamed(re.sub(r"^(nat|dinat)\.", "", original), HUGGING_FACE)
        if name.endswith(".layer_scale_parameters") and tensor.ndim == 2 and len(tensor) == 2:
            block = name.removesuffix(".layer_scale_parameters")
            pairs += [(f"{block}.attention_scale", tensor[0]), (f"{block}.mlp_scale", tensor[1])]
        else:
            pairs.append((name, tensor))
    tensors = uniquely_named(pairs, source)
    for name in [name for name in tensors if ".attention.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        # Parts that are missing or do not fit together stay as they are, for the report of what is wrong.
        if all(part in tensors and tensors[part].shape == tensors[name].shape != () for part in parts):
            tensors[name.replace(".query.", ".qkv.")] = torch.cat([tensors.pop(part) for part in parts])
    return tensors
