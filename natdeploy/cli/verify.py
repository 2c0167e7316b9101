"""``natdeploy verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from natdeploy.cli import options
from natdeploy.errors import EXIT_DISAGREES, EXIT_DONE


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--checkpoint", help="The reference: what ARTIFACT was exported from.")
@options.variant
@click.option("--against", type=click.Path(path_type=Path), help="Recorded inputs and outputs (.npz).")
@click.option("--images", type=click.Path(path_type=Path), help="Verify on the images in this directory.")
@click.option("--inputs", type=click.Path(path_type=Path), help="Verify on 'pixel_values' of this .npz file.")
@click.option(
    "--reference",
    type=click.Choice(["torch", "transformers"]),
    default="torch",
    show_default=True,
    help="Our PyTorch model, or Hugging Face's own code; both in float64.",
)
@click.option("--save-reference", type=click.Path(path_type=Path), help="Record both for --against.")
@click.option("--tolerance", type=click.FloatRange(min=0), help="Largest error, as a share of an output's deviation.")
@click.option("--layers", is_flag=True, help="Compare every layer, and name the first that drifts.")
@click.option("--seed", default=0, show_default=True, help="Of the noise that is used where no inputs are given.")
@options.as_json
def verify(as_json: bool, **request: Any) -> int:
    r"""Prove that ARTIFACT computes what its checkpoint computes. Exit status 3 means that they disagree.

    \b
    Example:
      natdeploy verify nat_mini.onnx --checkpoint nat-mini/ --images photos/
    """
    from natdeploy.cli.messages import verify_message
    from natdeploy.console import working
    from natdeploy.verification import VerifyRequest, verify_artifact

    with working(f"verifying {request['artifact']}"):
        report = verify_artifact(VerifyRequest(**request))
    verify_message(report, request["artifact"], as_json)
    return EXIT_DONE if report.agrees else EXIT_DISAGREES
