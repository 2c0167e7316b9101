"""The JSON document in every file of ours: what it is, how to feed it, where it came from (docs/design.md §4).

``metadata.schema.json`` beside this file is its published schema; what is read from a file is checked against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from natdeploy import __version__
from natdeploy.errors import NatdeployError
from natdeploy.models.config import ModelConfig
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION
from natdeploy.preprocessing import Preprocessing
from natdeploy.size_limits import SizeLimits

KEY = "natdeploy"  # in an ONNX file's metadata_props
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself.

    Args:
        form: ``hybrid``, ``plugin`` or ``portable``.
        config: The model.
        labels: Class names; empty where there are none.
        preprocessing: How images become ``pixel_values``.
        size_limits: Image sizes and batch that the file accepts.
        outputs: Names, in order.
        probes: Names of inner tensors, in graph order.
        variant: Published variant, where known.
        checkpoint_source: What the checkpoint was called.
        checkpoint_sha256: Hash of its weights.
        precision: Precision policy: ``weights`` and what was kept in float32.
        natdeploy_version: Of the exporter.
    """

    form: str
    config: ModelConfig
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    size_limits: SizeLimits
    outputs: tuple[str, ...]
    probes: tuple[str, ...]
    variant: str | None
    checkpoint_source: str
    checkpoint_sha256: str
    precision: Mapping[str, Any] = field(default_factory=lambda: {"weights": "float32", "kept_float32": []})
    natdeploy_version: str = __version__

    def to_json(self) -> str:
        """Write the document; the same content always gives the same text."""
        limits = self.size_limits
        document = {
            "schema": SCHEMA_VERSION,
            "natdeploy": self.natdeploy_version,
            "operator": {"domain": DOMAIN, "version": DOMAIN_VERSION},
            "form": self.form,
            "family": self.config.family,
            "variant": self.variant,
            "config": self.config.to_json(),
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_json(),
            "sizes": {
                "height": [limits.minimum[0], limits.maximum[0]],
                "width": [limits.minimum[1], limits.maximum[1]],
                "batch": limits.batch,
            },
            "precision": dict(self.precision),
            "outputs": list(self.outputs),
            "probes": list(self.probes),
            "checkpoint": {"source": self.checkpoint_source, "sha256": self.checkpoint_sha256},
        }
        return json.dumps(document, ensure_ascii=False, sort_keys=True)


def metadata_from_json(text: str, source: str) -> Metadata:
    """Read and check the document.

    Raises:
        NatdeployError: If it is no JSON, breaks the schema, or is of a newer version.
    """
    import jsonschema

    try:
        document = json.loads(text)
        version = document.get("schema") if isinstance(document, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NatdeployError(
                f"the metadata of '{source}' is of version {version}",
                needed=f"version {SCHEMA_VERSION} or older",
                next_step="Update natdeploy",
            )
        jsonschema.validate(document, _schema())
    except (json.JSONDecodeError, RecursionError, jsonschema.ValidationError) as error:
        message = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        raise NatdeployError(
            f"the metadata of '{source}' is damaged", got=message[:300], next_step="Export the checkpoint again"
        ) from error
    sizes, checkpoint = document["sizes"], document["checkpoint"]
    return Metadata(
        form=document["form"],
        config=ModelConfig.from_json(document["config"]),
        labels=tuple(document["labels"]),
        preprocessing=Preprocessing.from_json(document["preprocessing"]),
        size_limits=SizeLimits(
            (sizes["height"][0], sizes["width"][0]), (sizes["height"][1], sizes["width"][1]), sizes["batch"]
        ),
        outputs=tuple(document["outputs"]),
        probes=tuple(document["probes"]),
        variant=document["variant"],
        checkpoint_source=checkpoint["source"],
        checkpoint_sha256=checkpoint["sha256"],
        precision=document["precision"],
        natdeploy_version=document["natdeploy"],
    )


def metadata_from_properties(properties: Mapping[str, str], source: str) -> Metadata:
    """Read the document from an ONNX file's ``metadata_props``.

    Raises:
        NatdeployError: If there is none, or it is damaged.
    """
    if KEY not in properties:
        raise NatdeployError(
            f"'{source}' was not written by natdeploy: it has no natdeploy metadata",
            next_step="Make one with `natdeploy export CHECKPOINT -o model.onnx`",
        )
    return metadata_from_json(properties[KEY], source)


def _schema() -> Any:
    return json.loads(resources.files("natdeploy.onnx_files").joinpath("metadata.schema.json").read_text("utf-8"))
