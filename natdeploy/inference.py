"""Classifying images with nothing but an exported file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.metadata import Metadata
from natdeploy.preprocessing import open_image, pixel_values_from_image
from natdeploy.runners import EngineUse, Runner, runner_for_artifact


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

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"image": str(self.image), "guesses": [asdict(guess) for guess in self.guesses]}


def classify(
    artifact: str | Path,
    images: Sequence[Path],
    top: int = 5,
    each: Callable[[Sequence[Path]], Iterable[Path]] = iter,
    engine: EngineUse | None = None,
) -> list[Classification]:
    """Classify images with the preprocessing and labels that the file carries.

    Args:
        artifact: A file that natdeploy wrote, with an output ``logits``.
        images: Image files.
        top: Guesses per image.
        each: Goes through the images; a caller may show progress in it.
        engine: How to run the file where it is a plan.

    Returns:
        One classification per image, in order.

    Raises:
        NatdeployError: If the file is none of ours or has no classifier; with every image that cannot be used.
    """
    runner = runner_for_artifact(artifact, engine, described=True)
    metadata = _classifier_metadata(runner.metadata, Path(artifact).name)
    found, problems = [], []
    for path in each(images):
        try:
            found.append(Classification(path, _guesses(runner, metadata, path, top)))
        except NatdeployError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise NatdeployError(
            f"{len(problems)} of {len(images)} images cannot be classified",
            got=" ".join(str(problem) for problem in problems),
        )
    return found


def _classifier_metadata(metadata: Metadata | None, name: str) -> Metadata:
    if metadata is None:
        raise NatdeployError(
            f"'{name}' carries no natdeploy metadata, so its preprocessing and labels are unknown",
            next_step="Make a file with `natdeploy export CHECKPOINT -o model.onnx`",
        )
    if "logits" not in metadata.outputs:
        raise NatdeployError(
            f"'{name}' does not classify: it has no output 'logits'",
            got=", ".join(metadata.outputs),
            next_step="Export a checkpoint that has a classifier, without --outputs or with --outputs logits",
        )
    return metadata


def _guesses(runner: Runner, metadata: Metadata, path: Path, top: int) -> tuple[Guess, ...]:
    try:
        pixels = pixel_values_from_image(open_image(path), metadata.preprocessing)
    except NatdeployError as error:
        if str(path) in str(error):
            raise
        raise NatdeployError(f"cannot use '{path}'", got=str(error)) from error
    batch = metadata.size_limits.batch_near(1)
    outputs = runner.run({"pixel_values": np.stack([pixels] * batch)})
    logits = outputs.get("logits", np.empty(0)).astype(np.float64)
    if logits.ndim != 2 or not logits.size or not np.isfinite(logits).all():
        raise NatdeployError(
            f"the model gives no usable 'logits' for '{path}'",
            got="NaN or infinity" if logits.ndim == 2 and logits.size else f"shape {list(logits.shape)}",
            next_step="`natdeploy verify` says whether the file still computes what its checkpoint computes",
        )
    return _best(logits[0], metadata.labels, top)


def _best(logits: np.ndarray, labels: Sequence[str], top: int) -> tuple[Guess, ...]:
    weights = np.exp(logits - logits.max())
    probabilities = weights / weights.sum()
    order = [int(i) for i in np.argsort(-probabilities, kind="stable")[:top]]
    return tuple(Guess(i, labels[i] if i < len(labels) else f"class {i}", float(probabilities[i])) for i in order)
