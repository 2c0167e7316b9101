"""``natdeploy inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from natdeploy.cli import options
from natdeploy.console import human_size, print_facts, print_json, print_lines, print_table, say


@click.command(
    cls=options.Command,
    short_help="Show what is in an ONNX file, an engine or a checkpoint.",
    example="natdeploy inspect nat_mini.onnx",
)
@click.argument("file")
@options.variant
@click.option("--probes", is_flag=True, help="List the names of all inner tensors of an ONNX file, one a line.")
@click.option("--load", is_flag=True, help="Let TensorRT load a plan, and show what it says: tensors, device memory.")
@options.as_json
def inspect(file: str, variant: str | None, probes: bool, load: bool, as_json: bool) -> None:
    """Show what is in FILE: an ONNX file, a TensorRT plan with its sidecar, or a checkpoint."""
    from natdeploy.inspection import describe_file, probes_of_file

    if probes:
        names = probes_of_file(file)
        print_json(names) if as_json else print_lines(names)
        return
    description = describe_file(file, variant, load)
    _say_what_is_missing(description)
    print_json(description) if as_json else _print_description(description)


def _say_what_is_missing(description: Mapping[str, Any]) -> None:
    if description["kind"] == "plan" and description["sidecar"] is None:
        name = description["file"]
        say(
            f"note: there is no '{name}.json' beside '{name}', which tells what the engine is: only its header is known"
        )


def _print_description(description: Mapping[str, Any]) -> None:
    """Print the plain facts first, then a section for each nested part, then the attention layers."""
    parts = {name: value for name, value in description.items() if isinstance(value, Mapping)}
    facts = {n: v for n, v in description.items() if n not in (*parts, "attention", "probes") and v is not None}
    print_facts(str(facts.pop("file", None) or facts.pop("source")), _facts(facts))
    for name, part in parts.items():
        print_lines([""])
        print_facts(_words(name), _facts(part))
    if layers := description.get("attention"):
        columns = ("layer", "map", "num_heads", "head_dim", "kernel_size", "dilation", "rpb")
        rows = [tuple(_fact(column, layer[column]) for column in columns) for layer in layers]
        print_lines([""])
        print_table([_words(column) for column in columns], rows, title="attention")


def _facts(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(_words(name), _fact(name, value)) for name, value in part.items()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _fact(name: str, value: Any) -> str:
    if name.endswith("bytes"):
        return human_size(value)
    if name == "params":
        return f"{value / 1e6:.2f} M"
    if name == "labels" and isinstance(value, list) and len(value) > 10:
        return f"{', '.join(value[:10])} … ({len(value)} in all; --json lists them)"
    if name in ("map", "kernel_size", "dilation", "crop_size") and isinstance(value, list | tuple):
        return "x".join(map(str, value))
    if isinstance(value, list | tuple):
        nested = any(isinstance(item, list | tuple) for item in value)  # dilations: stages of blocks
        return ("; " if nested else ", ").join(_fact("", item) for item in value) or "none"
    if isinstance(value, Mapping):  # one tensor
        return f"{value['name']} {value['dtype']} [{', '.join(map(str, value['shape'] or ['?']))}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
