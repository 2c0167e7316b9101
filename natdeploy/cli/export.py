"""``natdeploy export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from natdeploy.cli import options


@click.command()
@click.argument("checkpoint")
@options.output
@options.variant
@options.form
@click.option("--image-size", type=options.ImageSize(), help="Fixed image size; the checkpoint's own by default.")
@click.option("--dynamic-size", type=options.SizeRange(), help="Accept any height and width in this range.")
@click.option("--batch", type=options.Batch(), default="dynamic", show_default=True, help="Fixed or free batch.")
@click.option("--outputs", type=options.Names(), default=(), help="logits, pooled, feature_maps.stage1 …")
@options.external_data
@options.as_json
def export(checkpoint: str, output: str, variant: str | None, as_json: bool, **settings: Any) -> None:
    r"""Export CHECKPOINT to ONNX, with neighborhood attention as one custom op.

    CHECKPOINT is a Hugging Face directory or hub id, a directory or .pth file of the original authors, or
    random:VARIANT.

    \b
    Example:
      natdeploy export random:nat_mini -o nat_mini.onnx --dynamic-size 64:512
    """
    from natdeploy.checkpoints import weights_from_checkpoint
    from natdeploy.cli.messages import export_message, export_settings
    from natdeploy.console import working
    from natdeploy.environment import require
    from natdeploy.onnx_files.export import onnx_from_checkpoint

    require("export")
    loaded = weights_from_checkpoint(checkpoint, variant)
    with working(f"exporting {checkpoint} (some 5 to 30 s)"):
        summary = onnx_from_checkpoint(loaded, Path(output), export_settings(settings))
    export_message(summary, checkpoint, variant, as_json)
