#!/usr/bin/env python
"""Measure the ONNX forms on the CPU, side by side in one run; prints a Markdown page (docs/performance.md is one).

    .venv/bin/python scripts/bench_cpu.py --write docs/performance.md

What is compared with what: each form of a model with the same network whose attention op is passed through (its value
part is its output): the floor that no attention can beat. Runs alternate, so drift of the machine hits all alike; the
figure is the median of the ratios of paired runs. Exit status 1 when a limit is exceeded.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.onnx_files.export import onnx_from_checkpoint
from natdeploy.onnx_files.lower import lowered_from_onnx
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.ops.spec import DOMAIN

FLOOR = "attention passed through"
LIMITS = {"portable": 1.6, "hybrid, fixed size": 2.5, "hybrid, free size": 4.0}
EXPORT_LIMIT_S, HELP_LIMIT_S, MEMORY_LIMIT = 20.0, 0.3, 4.0

_PEAK = """
import sys
import onnx, onnxscript, torch, torch.onnx._internal.exporter._core
from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.onnx_files.export import onnx_from_checkpoint
def peak():  # of this process alone: ru_maxrss would start at the parent's
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
before = peak()
checkpoint = weights_from_checkpoint(sys.argv[1])
onnx_from_checkpoint(checkpoint, sys.argv[2])
print((peak() - before) / sum(t.numel() * 4 for t in checkpoint.tensors.values()))
"""


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as directory:
        files = _files(arguments.variant, Path(directory), arguments.batch)
        times = _interleaved(files, arguments.runs, arguments.threads, arguments.batch)
        rows = [_row(name, times) for name in files]
        costs = _costs(arguments, Path(directory)) if arguments.costs else []
    page = _page(arguments, rows, costs)
    if arguments.write:
        arguments.write.write_text(page, encoding="utf-8")
    print(json.dumps({"forms": rows, "costs": costs}, indent=2) if arguments.json else page)
    return int(any(row["within"] is False for row in [*rows, *costs]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="nat_mini")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5, help="paired runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-costs", dest="costs", action="store_false", help="leave out export, --help and memory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="also write the page here")
    return parser.parse_args()


def _files(variant: str, directory: Path, batch: int) -> dict[str, Path]:
    """Export the forms; the floor is made from the hybrid file of fixed size."""
    checkpoint = weights_from_checkpoint(f"random:{variant}")
    files = {name: directory / f"{i}.onnx" for i, name in enumerate([FLOOR, *LIMITS])}
    onnx_from_checkpoint(checkpoint, files["hybrid, fixed size"], ExportSettings(batch=batch))
    onnx_from_checkpoint(checkpoint, files["hybrid, free size"], ExportSettings(dynamic_size=(64, 512)))
    lowered_from_onnx(files["hybrid, fixed size"], files["portable"])
    _pass_attention_through(files["hybrid, fixed size"], files[FLOOR])
    return files


def _pass_attention_through(source: Path, target: Path) -> None:
    model = ir.load(source)
    for node in [node for node in model.graph if node.domain == DOMAIN]:
        split = ir.node("Split", [node.inputs[0]], {"axis": -1, "num_outputs": 3}, num_outputs=3)
        outputs, value = [node.outputs[0]], split.outputs[2]
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], [split], outputs, [value])
    model.functions.clear()
    ir.save(model, target)


def _interleaved(files: dict[str, Path], runs: int, threads: int, batch: int) -> dict[str, list[float]]:
    """Seconds per run of each file, run in turn."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    sessions = {
        name: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for name, path in files.items()
    }
    pixels = np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in files}
    for number in range(runs + 2):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"pixel_values": pixels})
            if number >= 2:  # two rounds of warm-up
                times[name].append(time.perf_counter() - start)
    return times


def _row(name: str, times: dict[str, list[float]]) -> dict[str, object]:
    ratio = statistics.median(a / b for a, b in zip(times[name], times[FLOOR], strict=True))
    limit = LIMITS.get(name)
    within = None if limit is None else ratio <= limit
    return {"name": name, "ms": 1e3 * statistics.median(times[name]), "ratio": ratio, "limit": limit, "within": within}


def _costs(arguments: argparse.Namespace, directory: Path) -> list[dict[str, object]]:
    natdeploy = [sys.executable, "-m", "natdeploy"]
    target = str(directory / "cost.onnx")
    export = _seconds([*natdeploy, "export", f"random:{arguments.variant}", "-o", target], 3)
    help_pairs = [(_seconds([*natdeploy, "--help"], 1), _seconds([sys.executable, "-c", ""], 1)) for _ in range(5)]
    extra = statistics.median(a - b for a, b in help_pairs)
    peak = float(_output([sys.executable, "-c", _PEAK, "random:nat_base", target]))
    figures = [
        (f"`natdeploy export random:{arguments.variant}`, whole process", export, "s", EXPORT_LIMIT_S),
        ("`natdeploy --help` beyond an empty interpreter", extra, "s", HELP_LIMIT_S),
        ("peak memory of exporting nat_base over the import baseline, by the weights' size", peak, "x", MEMORY_LIMIT),
    ]
    return [{"name": n, "value": v, "unit": u, "limit": lim, "within": v <= lim} for n, v, u, lim in figures]


def _seconds(command: list[str], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        _output(command)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _page(arguments: argparse.Namespace, rows: list[dict], costs: list[dict]) -> str:
    packages = ("onnxruntime", "torch", "onnxscript", "numpy")
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    command = "python scripts/bench_cpu.py" + (f" --write {arguments.write}" if arguments.write else "")
    lines = [
        "# Performance",
        "",
        f"`{command}` on {datetime.date.today()}: {arguments.variant} at 224x224, batch {arguments.batch}, "
        f"{arguments.threads} threads, median of {arguments.runs} paired runs. {_processor()}, Python "
        f"{platform.python_version()}, {versions}. Nothing here was measured on a GPU.",
        "",
        "| form | ms | ratio to the floor | limit |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {r['name']} | {r['ms']:.1f} | {r['ratio']:.2f} | {r['limit'] or ''} |" for r in rows),
    ]
    if costs:
        lines += ["", "| cost | measured | limit |", "| --- | ---: | ---: |"]
        lines += [f"| {c['name']} | {c['value']:.2f} {c['unit']} | {c['limit']} {c['unit']} |" for c in costs]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
