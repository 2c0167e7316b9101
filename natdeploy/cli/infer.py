"""``natdeploy infer``."""

from __future__ import annotations

from pathlib import Path

import click

from natdeploy.cli import options


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Guesses per image.")
@options.as_json
def infer(artifact: Path, images: tuple[Path, ...], top: int, as_json: bool) -> None:
    r"""Classify images; ARTIFACT brings preprocessing and labels.

    \b
    Example:
      natdeploy infer nat_mini.onnx cat.jpg dog.png --top 3
    """
    from natdeploy.cli.messages import infer_message
    from natdeploy.console import working
    from natdeploy.environment import require
    from natdeploy.inference import classify

    require("infer")
    with working(f"classifying {len(images)} images"):
        found = classify(artifact, images, top)
    infer_message(found, as_json)
