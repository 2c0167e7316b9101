"""``weights_from_checkpoint``: find out which reader a checkpoint needs, and check what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from natdeploy.checkpoints.checkpoint import Checkpoint
from natdeploy.checkpoints.files import read_json
from natdeploy.checkpoints.hub import directory_from_hub, is_hub_id
from natdeploy.checkpoints.huggingface import MODEL_TYPES, checkpoint_from_huggingface
from natdeploy.checkpoints.matching import check_tensors, expected_tensors
from natdeploy.checkpoints.original import (
    FAMILIES,
    WEIGHT_SUFFIXES,
    checkpoint_from_original_directory,
    checkpoint_from_original_file,
)
from natdeploy.checkpoints.random_weights import PREFIX, checkpoint_from_random_weights
from natdeploy.errors import NatdeployError
from natdeploy.ordinary_files import refuse_special_file

_FORMS = (
    "a Hugging Face directory, a directory with config.json and model.pth, a .pth file with --variant, "
    f"'{PREFIX}VARIANT', or a hub id such as shi-labs/nat-mini-in1k-224"
)


def weights_from_checkpoint(checkpoint: str | Path, variant: str | None = None) -> Checkpoint:
    """Read a checkpoint of any supported form, and check that its tensors are those of the model it describes.

    Args:
        checkpoint: A path, a hub id (a path of that name wins) or ``random:VARIANT[@seed]``.
        variant: Name of the published variant; for weights that lie alone in a file, and only for them.

    Returns:
        Configuration, float32 weights by our names, preprocessing and labels.

    Raises:
        NatdeployError: If it cannot be read, or does not fit together: one error with every problem.
    """
    found = _read(checkpoint, variant)
    check_tensors(expected_tensors(found.config, found.source), found.tensors, found.source)
    return found


def path_of_checkpoint(checkpoint: str | Path) -> Path:
    """Say where a checkpoint's files lie: a path is taken as it is, a hub id is fetched into the local cache.

    Raises:
        NatdeployError: If a hub id cannot be fetched.
    """
    path, text = Path(checkpoint), str(checkpoint)
    return directory_from_hub(text) if not path.exists() and is_hub_id(text) and _may_be_remote(path) else path


def _read(checkpoint: str | Path, variant: str | None) -> Checkpoint:
    path, text = Path(checkpoint), str(checkpoint)
    refuse_special_file(path)
    source = path.resolve().name if path.exists() else text  # no path of this machine goes into artifacts
    if path.is_file():
        return checkpoint_from_original_file(path, variant, source)
    if not path.is_dir() and not text.startswith(PREFIX) and not (is_hub_id(text) and _may_be_remote(path)):
        raise NatdeployError(f"there is no checkpoint '{text}'", needed=_FORMS)
    document = _config(path) if path.is_dir() else {}
    if variant is not None:
        raise NatdeployError(
            f"--variant {variant} makes no sense for '{text}', which says itself which model it is",
            next_step="Leave --variant out; it is for weights that lie alone in a .pth file",
        )
    if path.is_dir():
        return _from_directory(path, document, source)
    if text.startswith(PREFIX):
        return checkpoint_from_random_weights(text)
    directory = directory_from_hub(text)
    return _from_directory(directory, _config(directory), text)


def _may_be_remote(path: Path) -> bool:
    """Whether a missing path may be meant as a hub id: not if it looks like a file, or lies in a directory here."""
    return path.suffix not in WEIGHT_SUFFIXES and not path.parent.is_dir()


def _config(directory: Path) -> dict[str, Any]:
    if (directory / "config.json").exists():
        return read_json(directory / "config.json")
    alone = sorted(path for path in directory.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    raise NatdeployError(
        f"there is no config.json in '{directory}'",
        needed=_FORMS,
        next_step=f"For weights without one: {alone[0]} --variant NAME" if alone else None,
    )


def _from_directory(directory: Path, document: Mapping[str, Any], source: str) -> Checkpoint:
    if document.get("model_type") in MODEL_TYPES:
        return checkpoint_from_huggingface(directory, document, source)
    if document.get("family") in FAMILIES:
        return checkpoint_from_original_directory(directory, document, source)
    kind = {name: document[name] for name in ("model_type", "family") if name in document}
    raise NatdeployError(
        f"'{directory}' holds no checkpoint of a supported model",
        got=", ".join(f"{name} {value!r}" for name, value in kind.items()) or "neither model_type nor family",
        needed=f"model_type {' or '.join(MODEL_TYPES)}, or family {', '.join(FAMILIES)}",
    )
