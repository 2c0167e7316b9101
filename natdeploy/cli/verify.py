"""``natdeploy verify``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from natdeploy.cli import options
from natdeploy.console import print_facts, print_json, print_lines, print_table, say, working
from natdeploy.errors import EXIT_DISAGREES, EXIT_DONE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from natdeploy.verification import VerifyReport, VerifyRequest
    from natdeploy.verification.comparison import Comparison


@click.command(
    cls=options.Command,
    short_help="Prove that a file computes what it should.",
    example="natdeploy verify nat_mini.onnx --checkpoint nat-mini/ --images photos/",
)
@click.argument("artifact", type=options.path)
@click.option("--checkpoint", metavar="CHECKPOINT", help="The reference: what ARTIFACT was exported from.")
@options.variant
@click.option("--against", type=options.path, metavar="FILE", help="Recorded inputs and outputs (.npz) instead.")
@click.option("--images", type=options.path, metavar="PATH", help="Verify on an image, or on all in a directory.")
@click.option("--inputs", type=options.path, metavar="FILE", help="Verify on 'pixel_values' of this .npz file.")
@click.option(
    "--reference",
    type=click.Choice(["torch", "transformers"]),
    default="torch",
    show_default=True,
    help="Our PyTorch model, or Hugging Face's own code; both in float64.",
)
@click.option("--save-reference", type=options.path, metavar="FILE", help="Record all of it for --against (.npz).")
@click.option(
    "--tolerance",
    type=options.tolerance,
    metavar="X",
    help="Largest error, as a share of an output's standard deviation [default: by precision: float32 1e-4, TF32 and "
    "float16 2e-2, bfloat16 2.5e-1].",
)
@click.option("--layers", is_flag=True, help="Compare every layer, and name the first that drifts.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the noise that is used where no inputs are given.",
)
@options.cuda_graph
@options.allow_host_code
@options.as_json
def verify(as_json: bool, **request: Any) -> int:
    """Prove that ARTIFACT computes what its checkpoint computes. Exit status 3 means that they disagree."""
    from natdeploy.verification import VerifyRequest, verify_artifact

    asked = VerifyRequest(**request)
    with working(f"verifying {asked.artifact}") as step:
        report = verify_artifact(asked, each=step.each)
    _print_report(report, asked.artifact, as_json)
    _say_what_follows(report, asked)
    return EXIT_DONE if report.agrees else EXIT_DISAGREES


def _print_report(report: VerifyReport, artifact: Path, as_json: bool) -> None:
    if as_json:
        print_json(report.to_json())
        return
    facts = [("reference", report.reference), ("candidate", report.candidate), ("inputs", report.inputs)]
    tolerance = f"{report.outputs[0].tolerance:.1e} of an output's standard deviation"
    print_facts(f"verify {artifact}", [*facts, ("tolerance", tolerance)])
    for title, comparisons in (("layers", report.layers), ("outputs", report.outputs)):
        if comparisons:
            print_lines([""])
            _print_comparisons(comparisons, title)
    print_lines(["", *_verdict(report, artifact)])


def _print_comparisons(comparisons: Sequence[Comparison], title: str) -> None:
    has_classes = any(one.top1_agreement is not None for one in comparisons)
    columns = ("name", "shape", "error", "max abs", "max rel", "cosine", *(["top-1"] if has_classes else []), "verdict")
    rows = [
        (
            one.name,
            "x".join(map(str, one.shape)),
            f"{one.error:.1e}",
            f"{one.max_absolute:.1e}",
            f"{one.max_relative:.1e}",
            f"{one.cosine:.6f}",
            *([_percent(one.top1_agreement)] if has_classes else []),
            one.verdict,
        )
        for one in comparisons
    ]
    print_table(columns, rows, title=title, optional=("cosine", "max rel", "shape"))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _verdict(report: VerifyReport, artifact: Path) -> list[str]:
    if report.agrees:
        return [f"{artifact} agrees with its reference."]
    lines = [f"DISAGREES: {one.name}: {one.failure}" for one in report.outputs if not one.agrees]
    if report.passing_tolerance is not None:
        lines.append(f"All outputs would have passed with --tolerance {report.passing_tolerance:.0e}")
    if report.first_drifting_layer is not None:
        lines.append(f"The first layer that drifts is {report.first_drifting_layer.name}.")
    elif report.layers:
        lines.append("No layer drifts: the difference arises after the last of them.")
    return lines


def _say_what_follows(report: VerifyReport, request: VerifyRequest) -> None:
    for note in report.notes:
        say(f"note: {note}")
    if report.agrees:
        consent = " --allow-host-code" if request.allow_host_code else ""
        say(f"Next: natdeploy infer {shlex.quote(str(request.artifact))} IMAGE{consent}")
    elif request.is_plan:
        say("Next: verify the ONNX file that the plan was built from: its layers can be compared (--layers)")
    elif not request.layers and request.reference_has_layers:
        say("Next: the same command with --layers names the first layer that drifts")
