"""``natdeploy lower``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from natdeploy.cli import options
from natdeploy.console import human_size, print_facts, print_json, say, working

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    cls=options.Command,
    short_help="Write an ONNX file in another form.",
    example="natdeploy lower nat_mini.onnx -o nat_mini.portable.onnx",
)
@click.argument("model", type=options.path)
@options.output
@options.form("portable")
@options.external_data
@options.as_json
def lower(model: Path, output: Path, form: str, external_data: bool, as_json: bool) -> None:
    """Write MODEL in another form; names of inputs, outputs and inner tensors stay."""
    from natdeploy.onnx_files.lower import lowered_from_onnx

    with working(f"writing the {form} form of {model}"):
        size = lowered_from_onnx(model, output, form, external_data)
    if as_json:
        print_json({"file": str(output), "form": form, "bytes": size})
    else:
        print_facts(f"lowered {model.name}", [("file", str(output)), ("form", form), ("size", human_size(size))])
    say(f"Next: natdeploy inspect {shlex.quote(str(output))}")
