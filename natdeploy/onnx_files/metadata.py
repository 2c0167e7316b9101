"""The JSON document in every file of ours: what it is, how to feed it, where it came from (docs/design.md §4).

``metadata.schema.json`` beside this file is its published schema; what is read from a file is checked against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from natdeploy import __version__
from natdeploy.errors import NatdeployError
from natdeploy.models.config import ModelConfig
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION
from natdeploy.preprocessing import Preprocessing
from natdeploy.size_limits import SizeLimits
from natdeploy.versioned_document import refuse_newer, schema_in, schema_problems

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
        NatdeployError: If it is no JSON, breaks the schema, contradicts itself, or is of a newer version.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a ValueError of its own
        raise _damaged(source, [str(error)]) from error
    refuse_newer(document, SCHEMA_VERSION, f"the metadata of '{source}'")
    if problems := schema_problems(document, _schema()):
        raise _damaged(source, problems)
    sizes, checkpoint = document["sizes"], document["checkpoint"]
    recipe = Preprocessing.from_json(document["preprocessing"])
    metadata = Metadata(
        form=document["form"],
        config=ModelConfig.from_json(document["config"]),
        labels=tuple(document["labels"]),
        preprocessing=recipe,
        size_limits=SizeLimits(
            (sizes["height"][0], sizes["width"][0]),
            (sizes["height"][1], sizes["width"][1]),
            sizes["batch"],
            input_format=recipe.input_format,
        ),
        outputs=tuple(document["outputs"]),
        probes=tuple(document["probes"]),
        variant=document["variant"],
        checkpoint_source=checkpoint["source"],
        checkpoint_sha256=checkpoint["sha256"],
        precision=document["precision"],
        natdeploy_version=document["natdeploy"],
    )
    if problems := _contradictions(metadata):
        raise _damaged(source, problems)
    return metadata


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _damaged(source: str, problems: Sequence[str]) -> NatdeployError:
    return NatdeployError(
        f"the metadata of '{source}' is damaged", got="; ".join(problems)[:500], next_step="Export the checkpoint again"
    )


def _contradictions(metadata: Metadata) -> list[str]:
    """Say what no schema can: which fields contradict each other."""
    config, recipe, limits = metadata.config, metadata.preprocessing, metadata.size_limits
    problems = config.problems()
    if metadata.labels and len(metadata.labels) != config.num_labels:
        problems.append(f"{len(metadata.labels)} labels for {config.num_labels} classes")
    if not len(recipe.mean) == len(recipe.std) == config.num_channels:
        problems.append(f"{len(recipe.mean)} means, {len(recipe.std)} deviations for {config.num_channels} channels")
    if recipe.channel_order is not None and config.num_channels != len(recipe.channel_order):
        problems.append(f"channel_order {recipe.channel_order} for {config.num_channels} channels")
    if recipe.channel_order is None and recipe.input_format == "uint8-nhwc":
        problems.append(f"input_format uint8-nhwc for {config.num_channels} channels, which no image has")
    if not all(std > 0 for std in recipe.std):
        problems.append(f"deviations {list(recipe.std)} are not positive")
    if any(low > high for low, high in zip(limits.minimum, limits.maximum, strict=True)):
        problems.append(f"sizes from {limits.minimum} to {limits.maximum}")
    return problems


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


def metadata_if_any(properties: Mapping[str, str], source: str) -> Metadata | None:
    """Read the document from an ONNX file's metadata properties; None where natdeploy did not write the file.

    Raises:
        NatdeployError: If there is one, and it is damaged or of a newer version.
    """
    return metadata_from_properties(properties, source) if KEY in properties else None


def _schema() -> Any:
    return schema_in("natdeploy.onnx_files", "metadata.schema.json")
