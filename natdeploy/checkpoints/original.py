"""The original authors' format: their state dict, with a ``config.json`` beside it or the name of a published variant.

A bare ``.pth`` holds no dilations, no kernel size apart from its bias tables, and no class names: ``nat_tiny`` and
``dinat_tiny`` differ in nothing that is stored. So its variant must be named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.checkpoints.checkpoint import Checkpoint
from natdeploy.checkpoints.fields import Fields, labels_from_config
from natdeploy.checkpoints.files import tensors_from_file, uniquely_named
from natdeploy.checkpoints.huggingface import classes_of, preprocessing_of_directory
from natdeploy.checkpoints.matching import expected_tensors, tensor_problems
from natdeploy.checkpoints.renames import ORIGINAL, renamed
from natdeploy.errors import NatdeployError
from natdeploy.models.config import ModelConfig
from natdeploy.models.variants import VARIANTS, Variant, variant_named
from natdeploy.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".tar")

# Defaults of the constructors in classification/{nat,dinats,isotropic}.py; None: must be given.
_HIERARCHICAL: dict[str, Any] = {"kernel_size": 7, "dilations": None, "in_chans": 3, "qkv_bias": True, "qk_scale": None}
_FAMILIES: dict[str, dict[str, Any]] = {
    "NAT": {**_HIERARCHICAL, "layer_scale": None},
    "DiNAT": {**_HIERARCHICAL, "layer_scale": None},
    "DiNAT_s": {
        **_HIERARCHICAL,
        "patch_size": 4,
        "embed_dim": 96,
        "depths": [2, 2, 6, 2],
        "num_heads": [3, 6, 12, 24],
        "mlp_ratio": 4.0,
        "patch_norm": True,
    },
    "NATIsotropic": {
        "img_size": 224,
        "patch_size": 16,
        "in_chans": 3,
        "embed_dim": 384,
        "depth": 12,
        "num_heads": 12,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "qk_scale": None,
        "kernel_size": 7,
        "dilation": 2,
        "patch_norm": True,
    },
}
FAMILIES = tuple(_FAMILIES)

# How the Swin Transformers' own state dicts, whose names are otherwise those of DiNAT-s, give themselves away.
_SWIN_NAMES = re.compile(r"(attn\.relative_position_bias_table|attn_mask|attn\.logit_scale)$")
_HUGGING_FACE_NAMES = re.compile(r"(^|\.)(embeddings\.patch_embeddings|encoder\.levels)\.")
_INDEX_BUFFER = re.compile(r"^layers\.\d+\.attn\.relative_position_index$")


def checkpoint_from_original_directory(directory: Path, document: Mapping[str, Any], source: str) -> Checkpoint:
    """Read a directory whose ``config.json`` (already read: ``document``) has a ``family`` of :data:`FAMILIES`.

    The other fields are the arguments of that family's constructor; ``id2label`` may name the classes.

    Raises:
        NatdeployError: If the weights are missing or unreadable, or the configuration describes no model.
    """
    tensors = canonical_tensors(tensors_from_file(_weights_file(directory)), source)
    config = _config_from_arguments(document, tensors, source)
    preprocessing = preprocessing_of_directory(directory, config)
    return Checkpoint(config, tensors, preprocessing, labels_from_config(document, config.num_labels), source=source)


def checkpoint_from_original_file(path: Path, variant: str | None, source: str) -> Checkpoint:
    """Read bare weights of the published variant that is called ``variant``.

    The classifier may have been fine-tuned: its classes, like the channels of the image, are read off the weights.

    Raises:
        NatdeployError: If the file is unreadable, or the variant is missing, unknown or does not fit; the last three
            list the variants that do.
    """
    known = None if variant is None else variant_named(variant)
    tensors = canonical_tensors(tensors_from_file(path), source)
    if known is None:
        raise NatdeployError(
            f"'{source}' does not say which model its weights belong to",
            needed="a directory with config.json, or --variant for the weights of a published model",
            next_step=_fitting_advice(fitting_variants(tensors)),
        )
    config = _fitted_config(known, tensors)
    if problems := tensor_problems(expected_tensors(config, source), tensors, check_values=False):
        raise NatdeployError(
            f"the weights in '{source}' are not those of {variant}",
            got="; ".join(problems),
            next_step=_fitting_advice(fitting_variants(tensors)),
        )
    preprocessing = Preprocessing.of_imagenet(config.image_size, known.crop_fraction, config.num_channels)
    return Checkpoint(config, tensors, preprocessing, variant=variant, source=source)


def fitting_variants(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """List the published variants whose tensors have just these names and shapes (ours), any number of classes.

    Those with the published number of classes come first.
    """
    fitting = [
        name
        for name, variant in VARIANTS.items()
        if not tensor_problems(expected_tensors(_fitted_config(variant, tensors)), tensors, check_values=False)
    ]
    return tuple(sorted(fitting, key=lambda name: VARIANTS[name].config.num_labels != classes_of(tensors)))


def canonical_tensors(stored: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Translate the authors' names to ours.

    Raises:
        NatdeployError: If the names are those of another kind of checkpoint.
    """
    if any(_SWIN_NAMES.search(name) for name in stored):
        raise NatdeployError(
            f"'{source}' is a Swin Transformer checkpoint",
            needed="NAT, DiNAT, DiNAT-s or an isotropic variant: window attention is not neighborhood attention",
        )
    if any(_HUGGING_FACE_NAMES.search(name) for name in stored):
        raise NatdeployError(
            f"'{source}' has Hugging Face's tensor names but no config.json of theirs",
            next_step="Give the directory that holds config.json and the weights",
        )
    kept = {name: tensor for name, tensor in stored.items() if not _is_known_index(name, tensor)}
    return uniquely_named(((renamed(name, ORIGINAL), tensor) for name, tensor in kept.items()), f"'{source}'")


def _is_known_index(name: str, tensor: Tensor) -> bool:
    """Whether this is ViT-RPB's buffer of bias positions, and holds what the operator computes by itself.

    Row token, column neighbour: the flat position of (neighbour - token) + side - 1 in a table (2*side - 1) wide.
    """
    import torch

    if not _INDEX_BUFFER.match(name) or tensor.ndim != 2 or len(tensor) != tensor.shape[1]:
        return False
    side = round(len(tensor) ** 0.5)
    row, column = (part.flatten() for part in torch.meshgrid(*(torch.arange(side),) * 2, indexing="ij"))
    steps = [axis[None, :] - axis[:, None] + side - 1 for axis in (row, column)]
    return torch.equal(tensor, steps[0] * (2 * side - 1) + steps[1])


def _weights_file(directory: Path) -> Path:
    """Find the one file of weights in a directory."""
    if (whole := directory / "model.pth").exists():
        return whole
    found = sorted(path for path in directory.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    if len(found) == 1:
        return found[0]
    raise NatdeployError(
        f"'{directory}' has {'several files' if found else 'no file'} of weights",
        got=", ".join(path.name for path in found or sorted(directory.iterdir())),
        needed="model.pth, or a single .pth or .safetensors file, beside config.json",
    )


def _config_from_arguments(document: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> ModelConfig:
    """Translate the arguments of the authors' constructors."""
    family = document["family"]
    fields = Fields(document, {"num_classes": classes_of(tensors), **_FAMILIES[family]})
    fields.must_be("qk_scale", None)  # the scale is always head_dim ** -0.5
    fields.must_be("norm_layer", None, "LayerNorm")
    num_labels = fields.integer("num_classes", least=0)
    common: dict[str, Any] = {
        "embed_dim": fields.integer("embed_dim"),
        "mlp_ratio": fields.number("mlp_ratio"),
        "qkv_bias": fields.flag("qkv_bias"),
        "num_channels": fields.integer("in_chans"),
        "num_labels": num_labels,
        "final_norm": num_labels > 0 or "norm.weight" in tensors,
    }
    config = _isotropic(fields, common) if family == "NATIsotropic" else _hierarchical(family, fields, common)
    fields.check(f"config.json of {source} describes no model that is supported")
    return config


def _hierarchical(family: str, fields: Fields, common: dict[str, Any]) -> ModelConfig:
    fields.must_be("dilation", None, 1)  # the isotropic models' argument: here they mean another model than they say
    depths = fields.depths("depths")
    dilations = fields.dilations("dilations", depths)
    swin = family == "DiNAT_s"
    if swin:
        fields.must_be("patch_norm", True)
        fields.must_be("layer_scale", None)
    scale = fields.value("layer_scale")
    dilated = any(d != 1 for stage in dilations for d in stage)
    return ModelConfig(
        family="dinat_s" if swin else "dinat" if dilated or family == "DiNAT" else "nat",
        layout="swin" if swin else "nat",
        depths=depths,
        num_heads=fields.integers("num_heads"),
        dilations=dilations,
        kernel_size=fields.integer("kernel_size"),
        layer_scale=isinstance(scale, int | float) and not isinstance(scale, bool),  # as nat.py tests it: 0 is one
        patch_size=fields.integer("patch_size") if swin else 4,
        **common,
    )


def _isotropic(fields: Fields, common: dict[str, Any]) -> ModelConfig:
    fields.must_be("patch_norm", True)
    fields.must_be("dilations", None)
    image_size, patch_size = fields.integer("img_size"), fields.integer("patch_size")
    if image_size % patch_size:
        fields.problems.append(f"img_size {image_size} is no multiple of patch_size {patch_size}")
    full_attention = fields.value("kernel_size") is None  # ViT-RPB: the window is the whole map
    dilation = 1 if fields.value("dilation") is None else fields.integer("dilation")
    depth = fields.depth("depth")
    return ModelConfig(
        family="vitrpb" if full_attention else "nat_isotropic" if dilation == 1 else "dinat_isotropic",
        layout="isotropic",
        depths=(depth,),
        num_heads=(fields.integer("num_heads"),),
        dilations=(tuple(dilation if i % 2 else 1 for i in range(depth)),),
        kernel_size=image_size // patch_size if full_attention else fields.integer("kernel_size"),
        image_size=image_size,
        patch_size=patch_size,
        **common,
    )


def _fitted_config(variant: Variant, tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Give a variant's configuration with the classifier and the image channels that ``tensors`` have."""
    num_labels = classes_of(tensors)
    stem = next(
        (tensors[name] for name in ("stem.projection.0.weight", "stem.projection.weight") if name in tensors), None
    )
    return replace(
        variant.config,
        num_labels=num_labels,
        num_channels=3 if stem is None or stem.ndim != 4 else stem.shape[1],
        # A classifier stands on the norm: where that is missing, the tensors are incomplete and reported so.
        final_norm=num_labels > 0 or "norm.weight" in tensors,
    )


def _fitting_advice(fitting: tuple[str, ...]) -> str:
    if not fitting:
        return (
            "No published variant has these tensors: give a directory with model.pth and a config.json that has the "
            f"'family' ({', '.join(FAMILIES)}) and the arguments of its constructor"
        )
    return f"These variants fit: {', '.join(f'--variant {name}' for name in fitting)}"
