"""Options that several commands share, one decorator each, and the value types of ours."""

from __future__ import annotations

import re
from typing import Any

import click


class ImageSize(click.ParamType[tuple[int, int]]):
    """``N`` or ``HxW``, in pixels."""

    name = "N|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse; gives (height, width)."""
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value))
        if not match:
            self.fail(f"'{value}' is no image size; write 224 or 480x640 (height x width).", param, ctx)
        return int(match[1]), int(match[2] or match[1])


class SizeRange(click.ParamType[tuple[int, int]]):
    """``MIN:MAX``, in pixels."""

    name = "MIN:MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse; gives (smallest, largest)."""
        match = re.fullmatch(r"(\d+):(\d+)", str(value))
        if not match:
            self.fail(f"'{value}' is no range of sizes; write 64:512.", param, ctx)
        return int(match[1]), int(match[2])


class Batch(click.ParamType[int | str]):
    """``N`` or ``dynamic``."""

    name = "N|dynamic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Parse; ``dynamic`` stays as it is."""
        if value == "dynamic":
            return "dynamic"
        if not re.fullmatch(r"\d+", str(value)) or int(value) < 1:
            self.fail(f"'{value}' is no batch; write a positive number or 'dynamic'.", param, ctx)
        return int(value)


class Names(click.ParamType[tuple[str, ...]]):
    """Names, separated by commas."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Parse; empty names are dropped."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(",") if name.strip())


as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
output = click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="File to write.")
variant = click.option("--variant", help="Published variant, for a bare .pth file (it does not hold its dilations).")
external_data = click.option("--external-data", is_flag=True, help="Weights into OUTPUT.data (needed over 2 GiB).")
form = click.option(
    "--form",
    type=click.Choice(["hybrid", "plugin", "portable"]),
    help="hybrid: the op, with a function that any runtime can inline; plugin: the op alone; portable: standard ONNX.",
)
