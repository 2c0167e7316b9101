"""``natdeploy lower``."""

from __future__ import annotations

from pathlib import Path

import click

from natdeploy.cli import options


@click.command()
@click.argument("model", type=click.Path())
@options.output
@options.form
@options.external_data
@options.as_json
def lower(model: str, output: str, form: str | None, external_data: bool, as_json: bool) -> None:
    r"""Write MODEL in another form (portable by default).

    \b
    Example:
      natdeploy lower nat_mini.onnx -o nat_mini.portable.onnx
    """
    from natdeploy.cli.messages import lower_message
    from natdeploy.console import working
    from natdeploy.onnx_files.lower import lowered_from_onnx

    form = form or "portable"
    with working(f"writing the {form} form of {model}"):
        lowered_from_onnx(Path(model), Path(output), form, external_data)
    lower_message(Path(output), form, as_json)
