"""``natdeploy inspect``."""

from __future__ import annotations

import click

from natdeploy.cli import options


@click.command()
@click.argument("file")
@options.variant
@click.option("--probes", is_flag=True, help="List the names of all inner tensors, one a line.")
@options.as_json
def inspect(file: str, variant: str | None, probes: bool, as_json: bool) -> None:
    r"""Show what is in FILE: an ONNX file or a checkpoint.

    \b
    Example:
      natdeploy inspect nat_mini.onnx
    """
    from natdeploy.cli.messages import inspect_message
    from natdeploy.inspection import describe_file

    inspect_message(describe_file(file, variant), probes, as_json)
