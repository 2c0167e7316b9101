"""``natdeploy build-engine``."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import click

from natdeploy.cli import options
from natdeploy.cli.convert import say_what_was_found
from natdeploy.console import human_size, print_facts, print_json, say, working

if TYPE_CHECKING:
    from pathlib import Path

    from natdeploy.engines.builder import EngineSummary
    from natdeploy.engines.profiles import Points


def _shapes(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Points]:
    """Parse ``[NAME=]MIN,OPT,MAX``, each a shape such as 1x3x224x224; a single one stands for all three."""
    from natdeploy.engines.profiles import Points

    found: dict[str, Points] = {}
    for text in texts:
        name, _, points = text.rpartition("=")
        shapes = points.split(",")
        if len(shapes) not in (1, 3) or not all(re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", shape) for shape in shapes):
            raise click.BadParameter(f"'{text}' is no NAME=MIN,OPT,MAX; write x=1x3x224x224,4x3x224x224,8x3x224x224.")
        if name in found:
            raise click.BadParameter(f"'{name or 'the input'}' has shapes already.")
        low, best, high = (tuple(map(int, shape.split("x"))) for shape in (shapes * 3)[:3])
        found[name] = Points(low, best, high)
    return found


def _size(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    from natdeploy.engines.sizes import bytes_from_text

    size = bytes_from_text(text) if text is not None else None
    if text is not None and not size:
        raise click.BadParameter(f"'{text}' is no size; write 4GiB or 512MiB.")
    return size


def _pairs(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for key, sign, _ in pairs:
        if not (key and sign):
            raise click.BadParameter(f"'{key}' has no value; write KEY=VALUE.")
    return {key: value for key, _, value in pairs}


def _precision(fp16: bool, bf16: bool) -> str:
    if fp16 and bf16:
        raise click.UsageError("--fp16 and --bf16 contradict each other.")
    return "fp16" if fp16 else "bf16" if bf16 else "fp32"


@click.command(
    "build-engine",
    cls=options.Command,
    short_help="Build a TensorRT engine from an ONNX file.",
    example="natdeploy build-engine nat_mini.onnx -o nat_mini.plan --fp16 --backend tensorrt-rtx",
)
@click.argument("model", type=options.path)
@click.option("-o", "--output", required=True, type=options.path, metavar="FILE", help="Plan to write (.plan).")
@click.option(
    "--backend",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    default="tensorrt",
    show_default=True,
    help="tensorrt builds where it sees a GPU; tensorrt-rtx without one, for GeForce and RTX GPUs.",
)
@click.option("--fp16", is_flag=True, help="Convert to float16 first, as `natdeploy convert` does.")
@click.option("--bf16", is_flag=True, help="Convert to bfloat16 first.")
@click.option(
    "--shapes",
    multiple=True,
    callback=_shapes,
    metavar="NAME=MIN,OPT,MAX",
    help="Shapes of an input, such as 1x3x224x224 [default: all sizes that the file accepts, tuned for its own; "
    "a free batch from 1 to 8, tuned for 1]. May be given again.",
)
@click.option("--timing-cache", type=options.path, metavar="FILE", help="Measured times to read, if there, and keep.")
@click.option("--workspace", callback=_size, metavar="SIZE", help="Limit for intermediate results, such as 4GiB.")
@click.option("--optimization-level", type=click.IntRange(0, 5), metavar="0-5", help="0: quick build, 5: quick engine.")
@click.option("--embed-plugin", is_flag=True, help="Put the plugin library into the plan; loading it runs its code.")
@click.option("--version-compatible", is_flag=True, help="A plan for newer TensorRT versions, too.")
@click.option(
    "--config",
    multiple=True,
    callback=_pairs,
    metavar="KEY=VALUE",
    help="Anything else of TensorRT's IBuilderConfig: TF32=1, max_aux_streams=2, profiling_verbosity=DETAILED. "
    "May be given again.",
)
@click.option("--dry-run", is_flag=True, help="Load, parse and check everything; build and write nothing.")
@options.as_json
def build_engine(model: Path, output: Path, as_json: bool, fp16: bool, bf16: bool, **settings: Any) -> None:
    """Build a TensorRT engine from MODEL, an ONNX file of any form, and write a sidecar beside it.

    Every attention layer becomes the natdeploy plugin, or nothing is built. The portable form needs no plugin.
    """
    from natdeploy.engines.builder import engine_from_onnx
    from natdeploy.engines.settings import EngineSettings

    wanted = EngineSettings(precision=_precision(fp16, bf16), **settings)
    with working(f"building an engine from {model}") as step:
        summary = engine_from_onnx(model, output, wanted, progress=step.at)
    _print_summary(summary, as_json)
    if summary.precision is not None:
        say_what_was_found(*summary.precision)
    if settings["timing_cache"] is not None and settings["backend"] == "tensorrt-rtx":
        say("note: TensorRT for RTX measures nothing when it builds, so its timing cache tells nothing")
    if not settings["dry_run"]:
        say(f"Next: natdeploy inspect {shlex.quote(str(output))}")


def _print_summary(summary: EngineSummary, as_json: bool) -> None:
    part = summary.sidecar["engine"]
    if as_json:
        print_json({"file": str(summary.path) if part["plan"] else None, "engine": part})
        return
    profiles = [
        f"{name} {' / '.join('x'.join(map(str, points[key])) for key in ('min', 'opt', 'max'))}"
        for profile in part["profiles"]
        for name, points in profile.items()
    ]
    plan = part["plan"]
    facts = [
        ("file", str(summary.path) if plan else "none: a dry run"),
        ("size", human_size(plan["bytes"]) if plan else ""),
        ("built by", f"{part['backend']} {part['version']}"),
        ("layers", str(part["layers"])),
        ("attention plugins", _attention(part["attention_layers"])),
        ("shapes", "; ".join(profiles) or "fixed"),
        ("time", f"{part['build_seconds']:.1f} s" if plan else ""),
    ]
    print_facts(f"built {summary.path.name}" if plan else "would build", [fact for fact in facts if fact[1]])


def _attention(layers: dict[str, str]) -> str:
    if not layers:
        return "none (the file has none)"
    return f"{len(layers)}, in {' and '.join(sorted(set(layers.values())))}"
