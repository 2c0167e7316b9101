"""``natdeploy export``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from natdeploy.cli import options
from natdeploy.cli.convert import say_what_was_found
from natdeploy.console import human_size, print_facts, print_json, say, working

if TYPE_CHECKING:
    from pathlib import Path

    from natdeploy.onnx_files.export import ExportSummary


@click.command(
    cls=options.Command,
    short_help="Write a checkpoint as ONNX.",
    example="natdeploy export random:nat_mini -o nat_mini.onnx --dynamic-size 64:512",
)
@click.argument("checkpoint")
@options.output
@options.variant
@options.form("hybrid")
@click.option("--image-size", type=options.image_size, metavar="N|HxW", help="Fixed size [default: the checkpoint's].")
@click.option("--dynamic-size", type=options.size_range, metavar="MIN:MAX", help="Any height and width in this range.")
@click.option(
    "--batch",
    type=options.batch,
    default="dynamic",
    show_default=True,
    metavar="N|dynamic",
    help="Fixed, or free.",
)
@click.option(
    "--outputs",
    type=options.names,
    default="",
    metavar="A,B,…",
    help="logits, pooled, feature_maps.stage1 … (`natdeploy inspect CHECKPOINT` lists them) [default: logits, or "
    "else the feature maps].",
)
@click.option(
    "--input-format",
    type=click.Choice(["float32-nchw", "uint8-nhwc"]),
    default="float32-nchw",
    show_default=True,
    help="uint8-nhwc: the file takes the pixels of resized and cropped images as they are, [batch, height, width, "
    "channels], and normalises them itself.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of weights and arithmetic, as `natdeploy convert` does it; inputs and outputs keep their types.",
)
@options.keep_fp32
@options.external_data
@options.as_json
def export(checkpoint: str, output: Path, variant: str | None, as_json: bool, **settings: Any) -> None:
    """Export CHECKPOINT to ONNX, with neighborhood attention as one custom op.

    CHECKPOINT is a Hugging Face directory or hub id, a directory or .pth file of the original authors, or
    random:VARIANT.
    """
    from natdeploy.environment import require

    require("export")
    from natdeploy.checkpoints import weights_from_checkpoint
    from natdeploy.onnx_files.export import onnx_from_checkpoint
    from natdeploy.onnx_files.settings import ExportSettings

    with working(f"exporting {checkpoint} (some 5 to 30 s)"):
        loaded = weights_from_checkpoint(checkpoint, variant)
        summary = onnx_from_checkpoint(loaded, output, ExportSettings(**settings))
    _print_summary(summary, as_json)
    if summary.report is not None and summary.check is not None:
        say_what_was_found(summary.report, summary.check)
    say(f"Next: {_next_command(summary, checkpoint, variant)}")


def _print_summary(summary: ExportSummary, as_json: bool) -> None:
    metadata = summary.metadata
    document = {
        "file": str(summary.path),
        "bytes": summary.size_bytes,
        "form": metadata.form,
        "precision": metadata.precision["weights"],
        "attention_layers": summary.attention_layers,
        "input_format": metadata.preprocessing.input_format,
        "image_sizes": str(metadata.size_limits),
        "batch": metadata.size_limits.batch or "any",
        "outputs": list(metadata.outputs),
    }
    if as_json:
        print_json(document)
        return
    facts = {**document, "bytes": human_size(summary.size_bytes), "outputs": ", ".join(metadata.outputs)}
    names = {"bytes": "size"}
    print_facts(
        f"exported {metadata.variant or metadata.config.family}",
        [(names.get(name, name.replace("_", " ")), str(fact)) for name, fact in facts.items()],
    )


def _next_command(summary: ExportSummary, checkpoint: str, variant: str | None) -> str:
    file = shlex.quote(str(summary.path))
    if summary.metadata.form == "plugin":
        return f"natdeploy lower {file} -o portable.onnx  (ONNX Runtime has no kernel for the plugin form)"
    option = f" --variant {variant}" if variant else ""
    return f"natdeploy verify {file} --checkpoint {shlex.quote(checkpoint)}{option}"
