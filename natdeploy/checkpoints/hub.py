"""Checkpoints of the Hugging Face Hub, through huggingface_hub; what its local cache holds needs no network."""

from __future__ import annotations

import re
from pathlib import Path

from natdeploy.errors import MissingDependencyError, NatdeployError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_DESCRIPTIONS = ["config.json", "preprocessor_config.json"]
# In order of preference: a repository often holds the same weights in both forms, and one of them is enough.
_WEIGHTS = (
    ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json"],
    ["pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"],
)


def is_hub_id(text: str) -> bool:
    """Whether this has the form ``owner/name`` of a hub id."""
    return _HUB_ID.fullmatch(text) is not None


def directory_from_hub(hub_id: str) -> Path:
    """Fetch configuration and weights of ``owner/name`` into huggingface_hub's cache, if they are not there yet.

    Its own settings apply: ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_TOKEN``.

    Raises:
        NatdeployError: If huggingface_hub is not installed, there is no such repository, or it cannot be reached.
    """
    purpose = f"'{hub_id}' is no file or directory here, and fetching it from the Hugging Face Hub"
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError("huggingface_hub", purpose, "hub") from error
    try:
        for weights in _WEIGHTS:
            directory = Path(snapshot_download(hub_id, allow_patterns=_DESCRIPTIONS + weights))
            if any(directory.glob(weights[0])) or any(directory.glob(weights[-1])):
                break
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise NatdeployError(
            f"'{hub_id}' is no file or directory here, and it could not be fetched from the Hugging Face Hub",
            got=" ".join(str(error).split())[:300],
            next_step="Check the name and the connection, or download the checkpoint elsewhere and give its directory",
        ) from error
    return directory
