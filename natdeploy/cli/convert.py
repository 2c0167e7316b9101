"""``natdeploy convert``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from natdeploy.cli import options
from natdeploy.console import human_size, print_facts, print_json, say, working

if TYPE_CHECKING:
    from pathlib import Path

    from natdeploy.precision.check import NumbersCheck
    from natdeploy.precision.convert import PrecisionReport
    from natdeploy.precision.files import ConversionSummary


@click.command(
    cls=options.Command,
    short_help="Write an ONNX file in float16 or bfloat16.",
    example="natdeploy convert nat_mini.onnx -o nat_mini.fp16.onnx --precision fp16 --keep-fp32 'stage1.*'",
)
@click.argument("model", type=options.path)
@options.output
@click.option(
    "--precision",
    type=click.Choice(["fp16", "bf16"]),
    default="fp16",
    show_default=True,
    help="float16, or bfloat16: float32's range, three digits.",
)
@options.keep_fp32
@options.external_data
@options.as_json
def convert(
    model: Path, output: Path, precision: str, keep_fp32: tuple[str, ...], external_data: bool, as_json: bool
) -> None:
    """Write MODEL strongly typed in a half precision; inputs and outputs keep their types, and all names stay.

    Norms, softmax, sums, the classifier and the inside of attention stay float32, and so do layers with weights that
    the type cannot hold. The result runs on noise before it is written; values that overflow are refused.
    """
    from natdeploy.precision.files import converted_from_onnx

    with working(f"converting {model} to {precision}"):
        summary = converted_from_onnx(model, output, precision, keep_fp32, external_data)
    _print_summary(summary, model, as_json)
    say_what_was_found(summary.report, summary.check)
    say(f"Next: natdeploy verify {shlex.quote(str(output))} --checkpoint CHECKPOINT")


def _print_summary(summary: ConversionSummary, model: Path, as_json: bool) -> None:
    report, check = summary.report, summary.check
    if as_json:
        document = {"file": str(summary.path), "bytes": summary.size_bytes}
        print_json({**document, "precision": report.to_json(), "check": check.to_json()})
        return
    facts = [
        ("file", str(summary.path)),
        ("size", human_size(summary.size_bytes)),
        ("precision", report.weights),
        ("nodes in it", f"{report.half_nodes}, and {report.casts} casts"),
        ("float32", "; ".join(report.kept_float32)),
    ]
    if report.asked_for:
        facts.append(("as asked for", ", ".join(report.asked_for)))
    if check.runtime is not None:
        facts.append(("error", f"{check.error:.1e} of the deviation of {check.output} ({check.runtime}, noise)"))
    print_facts(f"converted {model.name}", facts)


def say_what_was_found(report: PrecisionReport, check: NumbersCheck) -> None:
    """Tell what a user should know of the weights and of the numbers."""
    for name, magnitude in report.out_of_range:
        say(f"note: {name} reaches {magnitude:.3g}, which {report.weights} cannot hold: its layer stays float32")
    if report.rounding.non_finite:
        say(f"note: {report.rounding.non_finite} weights are NaN or infinite, as they were in float32")
    if small := report.rounding.subnormal + report.rounding.zero:
        say(
            f"note: {small} of {report.rounding.numbers} weights are below {report.weights}'s normal numbers and lose "
            f"digits; {report.rounding.zero} of them became zero"
        )
    if check.skipped is not None:
        say(f"note: the numbers were not checked: {check.skipped}")
    if check.error is not None and check.tolerance is not None and check.error > check.tolerance:
        say(
            f"note: {check.output} is {check.error:.1e} of its deviation from float32, over the {check.tolerance:.1e} "
            f"of `natdeploy verify`; --keep-fp32 keeps layers in float32"
        )
