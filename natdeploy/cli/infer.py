"""``natdeploy infer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from natdeploy.cli import options
from natdeploy.console import print_json, print_table, working

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from natdeploy.inference import Classification


@click.command(
    cls=options.Command,
    short_help="Classify images.",
    example="natdeploy infer nat_mini.onnx cat.jpg dog.png --top 3",
)
@click.argument("artifact", type=options.path)
@click.argument("images", nargs=-1, required=True, type=options.path, metavar="IMAGE...")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Guesses per image.")
@options.cuda_graph
@options.allow_host_code
@options.as_json
def infer(artifact: Path, images: tuple[Path, ...], top: int, as_json: bool, **engine: bool) -> None:
    """Classify images; ARTIFACT, an ONNX file or a plan, brings preprocessing and labels."""
    from natdeploy.engines.use import EngineUse, is_plan
    from natdeploy.environment import require

    if not is_plan(artifact):  # which says itself what it lacks
        require("infer")
    from natdeploy.inference import classify

    with working(f"classifying {len(images)} image{'s' if len(images) > 1 else ''}") as step:
        found = classify(artifact, images, top, each=step.each, engine=EngineUse(**engine))
    _print_classes(found, as_json)


def _print_classes(found: Sequence[Classification], as_json: bool) -> None:
    if as_json:
        print_json([one.to_json() for one in found])
        return
    rows = [
        (str(one.image) if rank == 0 else "", str(rank + 1), guess.label, f"{100 * guess.probability:.2f} %")
        for one in found
        for rank, guess in enumerate(one.guesses)
    ]
    print_table(("image", "rank", "label", "probability"), rows)
