"""What the commands print: results to stdout, the next step to stderr."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.console import human_size, print_json, print_table, say

if TYPE_CHECKING:
    from natdeploy.environment import Finding
    from natdeploy.inference import Classification
    from natdeploy.onnx_files.export import ExportSummary
    from natdeploy.onnx_files.settings import ExportSettings
    from natdeploy.verification import VerifyReport
    from natdeploy.verification.comparison import Comparison


def export_settings(options: dict[str, Any]) -> ExportSettings:
    """Turn the command's options into settings."""
    from natdeploy.onnx_files.settings import ExportSettings

    batch = options.pop("batch")
    form = options.pop("form") or "hybrid"
    return ExportSettings(form=form, batch=None if batch == "dynamic" else batch, **options)


def export_message(summary: ExportSummary, checkpoint: str, variant: str | None, as_json: bool) -> None:
    """Say what was written, and how to verify it."""
    metadata = summary.metadata
    batch = metadata.size_limits.batch or "any"
    if as_json:
        print_json(
            {
                "file": str(summary.path),
                "bytes": summary.size_bytes,
                "form": metadata.form,
                "attention_layers": summary.attention_layers,
                "image_sizes": str(metadata.size_limits),
                "batch": batch,
                "outputs": list(metadata.outputs),
            }
        )
        return
    rows = [
        ("file", str(summary.path)),
        ("size", human_size(summary.size_bytes)),
        ("form", metadata.form),
        ("attention layers", str(summary.attention_layers)),
        ("image size", str(metadata.size_limits)),
        ("batch", str(batch)),
        ("outputs", ", ".join(metadata.outputs)),
    ]
    print_table(("exported", metadata.variant or metadata.config.family), rows)
    option = f" --variant {variant}" if variant else ""
    if metadata.form == "plugin":
        say(f"Next: natdeploy lower {summary.path} -o portable.onnx  (ONNX Runtime has no kernel for the plugin form)")
    else:
        say(f"Next: natdeploy verify {summary.path} --checkpoint {checkpoint}{option}")


def lower_message(path: Path, form: str, as_json: bool) -> None:
    """Say what was written."""
    if as_json:
        print_json({"file": str(path), "form": form, "bytes": path.stat().st_size})
        return
    rows = [("file", str(path)), ("form", form), ("size", human_size(path.stat().st_size))]
    print_table(("written", ""), rows)
    say(f"Next: natdeploy inspect {path}")


def verify_message(report: VerifyReport, artifact: Path, as_json: bool) -> None:
    """Print one row per output, then the verdict."""
    if as_json:
        print_json(report.to_json())
        return
    say(f"reference: {report.reference}\ncandidate: {report.candidate}\ninputs: {report.inputs}")
    if report.layers:
        print_table(_COMPARISON_COLUMNS, [_comparison_row(layer) for layer in report.layers], title="layers")
    print_table(_COMPARISON_COLUMNS, [_comparison_row(output) for output in report.outputs], title="outputs")
    if report.first_drifting_layer is not None:
        say(f"The first layer that drifts is {report.first_drifting_layer.name}.")
    if report.agrees:
        say(f"{artifact} agrees with its reference.\nNext: natdeploy infer {artifact} IMAGE")
        return
    for output in report.outputs:
        if output.failure is not None:
            say(f"DISAGREES: {output.name}: {output.failure}")
    if not report.layers:
        say("Next: the same command with --layers names the first layer that drifts")


_COMPARISON_COLUMNS = ("name", "shape", "error", "tolerance", "max abs", "max rel", "cosine", "top-1", "verdict")


def _comparison_row(comparison: Comparison) -> tuple[str, ...]:
    top1 = comparison.top1_agreement
    return (
        comparison.name,
        "x".join(map(str, comparison.shape)),
        f"{comparison.error:.1e}",
        f"{comparison.tolerance:.1e}",
        f"{comparison.max_absolute:.1e}",
        f"{comparison.max_relative:.1e}",
        f"{comparison.cosine:.6f}",
        "" if top1 is None else f"{100 * top1:.1f} %",
        "agrees" if comparison.agrees else (comparison.failure or "").split(":")[0],
    )


def infer_message(found: Sequence[Classification], as_json: bool) -> None:
    """Print the guesses, image by image."""
    if as_json:
        print_json(
            [
                {
                    "image": str(one.image),
                    "guesses": [
                        {"index": g.index, "label": g.label, "probability": g.probability} for g in one.guesses
                    ],
                }
                for one in found
            ]
        )
        return
    rows = [
        (str(one.image) if rank == 0 else "", str(rank + 1), guess.label, f"{100 * guess.probability:.2f} %")
        for one in found
        for rank, guess in enumerate(one.guesses)
    ]
    print_table(("image", "rank", "label", "probability"), rows)


def inspect_message(description: dict[str, Any], probes: bool, as_json: bool) -> None:
    """Print a description: the facts, then the attention layers of an ONNX file."""
    if probes:
        names = description.get("probes", [])
        print_json(names) if as_json else print("\n".join(names))
        return
    if as_json:
        print_json(description)
        return
    layers = description.pop("attention", [])
    rows = [(key.replace("_", " "), _fact(key, value)) for key, value in description.items() if key != "probes"]
    print_table(("what", "value"), rows)
    if layers:
        columns = ("layer", "map", "num_heads", "head_dim", "kernel_size", "dilation", "rpb")
        print_table(columns, [tuple(_fact(c, layer[c]) for c in columns) for layer in layers], title="attention")


def _fact(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return human_size(value)
    if key == "params":
        return f"{value / 1e6:.2f} M"
    if key in ("map", "kernel_size", "dilation"):
        return "x".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {_fact('', v)}" for k, v in value.items())
    if isinstance(value, list):
        shown = ", ".join(_fact("", v) for v in value[:12])
        return shown + (f" and {len(value) - 12} more" if len(value) > 12 else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def doctor_message(findings: Sequence[Finding], description: dict[str, object], as_json: bool) -> None:
    """Print what was found and what to do."""
    if as_json:
        print_json(description)
        return
    rows = [(finding.subject, finding.state, finding.detail, finding.advice) for finding in findings]
    print_table(("what", "state", "found", "to do"), rows)
