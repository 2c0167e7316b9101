"""``weights_from_checkpoint``: find out which reader a checkpoint needs."""

from __future__ import annotations

from pathlib import Path

from natdeploy.checkpoints.checkpoint import Checkpoint
from natdeploy.checkpoints.files import read_json
from natdeploy.checkpoints.huggingface import MODEL_TYPES, checkpoint_from_huggingface
from natdeploy.errors import NatdeployError


def weights_from_checkpoint(checkpoint: str | Path, variant: str | None = None) -> Checkpoint:
    """Read a checkpoint."""
    path = Path(checkpoint)
    document = read_json(path / "config.json")
    if document.get("model_type") in MODEL_TYPES:
        return checkpoint_from_huggingface(path, document, path.name)
    raise NatdeployError("unsupported")
