"""What commands share: options, one decorator each, the value types of ours, and help that ends with an example.

The types are functions, which click calls with the text that was given, or with the default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class _WithExample(click.Command):
    """Ends its help with an example that can be run as it stands.

    Args:
        example: One command a line.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, unwrapped."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")


class Command(_WithExample):
    """A command."""


class Group(_WithExample, click.Group):
    """The group of all commands."""


def image_size(text: Any) -> tuple[int, int]:
    """Parse ``N`` or ``HxW``, in pixels; gives (height, width)."""
    match = re.fullmatch(r"([0-9]{1,18})(?:x([0-9]{1,18}))?", str(text))
    if not match:
        raise click.BadParameter(f"'{text}' is no image size; write 224 or 480x640 (height x width).")
    return int(match[1]), int(match[2] or match[1])


def size_range(text: Any) -> tuple[int, int]:
    """Parse ``MIN:MAX``, in pixels; gives (smallest, largest)."""
    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", str(text))
    if not match:
        raise click.BadParameter(f"'{text}' is no range of sizes; write 64:512.")
    return int(match[1]), int(match[2])


def batch(text: Any) -> int | None:
    """Parse ``N`` or ``dynamic``; gives None for the latter."""
    if text == "dynamic":
        return None
    if not re.fullmatch(r"[0-9]{1,12}", str(text)) or int(text) < 1:
        raise click.BadParameter(f"'{text}' is no batch; write a positive number or 'dynamic'.")
    return int(text)


def names(text: Any) -> tuple[str, ...]:
    """Parse names that are separated by commas; empty ones are dropped."""
    return tuple(name.strip() for name in str(text).split(",") if name.strip())


def tolerance(text: Any) -> float:
    """Parse a finite number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise click.BadParameter(f"'{text}' is no tolerance; write a number such as 1e-4.")
    return value


# A path is looked at by the library, never by click: what depends on files ends with status 1, not 2.
path = click.Path(path_type=Path)

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
output = click.option("-o", "--output", required=True, type=path, metavar="FILE", help="File to write (.onnx).")
variant = click.option(
    "--variant", metavar="NAME", help="Published variant, for a bare .pth file (it does not hold its dilations)."
)
keep_fp32 = click.option(
    "--keep-fp32",
    multiple=True,
    metavar="PATTERN",
    help="Layers, tensors, weights or nodes that stay float32: 'stage1.*', '*.mlp'. May be given again.",
)
cuda_graph = click.option("--cuda-graph", is_flag=True, help="Run a plan as a CUDA graph, recorded once per shape.")
allow_host_code = click.option(
    "--allow-host-code",
    is_flag=True,
    help="Load a plan that carries code for this machine (--embed-plugin, --version-compatible). Only where you trust "
    "its source.",
)
external_data = click.option("--external-data", is_flag=True, help="Weights into OUTPUT.data (needed over 2 GiB).")


def form(default: str) -> Callable[[Decorated], Decorated]:
    """Give the option ``--form``, with the default of a command."""
    return click.option(
        "--form",
        type=click.Choice(["hybrid", "plugin", "portable"]),
        default=default,
        show_default=True,
        help="hybrid: the op, with a function that any runtime can inline; plugin: the op alone; "
        "portable: standard ONNX.",
    )
