"""Classifying images with nothing but an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.preprocessing import open_image, pixel_values_from_image
from natdeploy.runners import runner_for_artifact


@dataclass(frozen=True)
class Guess:
    """One class that an image may be of, and how probable the model finds it (softmax of the logits)."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """The best guesses for one image, best first."""

    image: Path
    guesses: tuple[Guess, ...]


def classify(artifact: str | Path, images: Sequence[Path], top: int = 5) -> list[Classification]:
    """Classify images with the preprocessing and labels that the file carries.

    Args:
        artifact: A file that natdeploy wrote, with an output ``logits``.
        images: Image files.
        top: Guesses per image.

    Returns:
        One classification per image, in order.

    Raises:
        NatdeployError: If the file is none of ours, has no classifier, or an image cannot be read.
    """
    runner = runner_for_artifact(artifact)
    name = Path(artifact).name
    if runner.metadata is None:
        raise NatdeployError(
            f"'{name}' carries no natdeploy metadata, so its preprocessing and labels are unknown",
            next_step="Export the checkpoint with `natdeploy export`",
        )
    if "logits" not in runner.metadata.outputs:
        raise NatdeployError(
            f"'{name}' does not classify: it has no output 'logits'", got=", ".join(runner.metadata.outputs)
        )
    batch = runner.metadata.size_limits.batch or 1
    found = []
    for path in images:
        pixels = pixel_values_from_image(open_image(path), runner.metadata.preprocessing)
        logits = runner.run({"pixel_values": np.stack([pixels] * batch)})["logits"][0]
        found.append(Classification(path, _best(logits.astype(np.float64), runner.metadata.labels, top)))
    return found


def _best(logits: np.ndarray, labels: Sequence[str], top: int) -> tuple[Guess, ...]:
    weights = np.exp(logits - logits.max())
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Guess(int(i), labels[i] if labels else f"class {i}", float(probabilities[i])) for i in order)
