#!/usr/bin/env python
"""Write docs/gpu/README.md from the files beside it: what ran on which GPU, and what is predicted.

    python scripts/render_gpu_docs.py

Nothing about GPUs is written by hand. A test (tests/scripts/test_render_gpu_docs.py) fails where the page is stale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "gpu"
PREDICTION = "prediction.json"
HEAD = "<!-- Written by scripts/render_gpu_docs.py; a test fails where it is stale. -->\n\n# On a GPU\n\n"
NEVER = (
    "**Never run on a GPU.** The kernels are executed on the CPU, thread by thread, against a float64 reference "
    "(`plugins/emulation`), and compiled by nvcc; no GPU has run them yet. What follows is computed.\n\n"
    "To change that, on a machine with a GPU, torch and numpy:\n\n"
    "```\ncmake -S plugins -B build/plugins && cmake --build build/plugins\n"
    "scripts/run_gpu_checks.sh && python scripts/render_gpu_docs.py\n```\n\n"
)


def page(folder: Path = FOLDER) -> str:
    """Give the page's text."""
    runs = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
        if path.name != PREDICTION
    ]
    runs.sort(key=lambda run: run["date"], reverse=True)
    parts = [HEAD, *([_run(run) for run in runs] if runs else [NEVER])]
    prediction = folder / PREDICTION
    if prediction.exists():
        parts.append(_prediction(json.loads(prediction.read_text(encoding="utf-8"))))
    return "".join(parts).rstrip() + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: int = 0) -> str:
    """Lay out a Markdown table whose last ``numbers`` columns are aligned to the right."""
    rule = ["---"] * (len(columns) - numbers) + ["---:"] * numbers
    lines = [list(columns), rule, *([str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n"


def _run(run: dict[str, Any]) -> str:
    gpu = run["gpu"]
    text = f"## {gpu['name']}, {run['date']}, commit {run['commit']}\n\n"
    about = [f"torch {gpu.get('torch', 'unknown')}", f"CUDA {gpu.get('cuda', 'unknown')}"]
    about.append(f"kernels {run['library'].get('kernel_version', 'unknown')}")
    text += ", ".join(about) + ".\n\n"
    steps = run["steps"]
    rows = [[name, step["verdict"], step["summary"], f"{step['seconds']:.0f}"] for name, step in steps.items()]
    text += table(["step", "verdict", "", "s"], rows, 1)
    text += "".join(_problems(name, step["problems"]) for name, step in steps.items() if step["problems"])
    for name in ("first-look", "times"):
        figures = steps.get(name, {}).get("figures", {})
        if figures.get("rows"):
            text += _times(name, figures)
    return text


def _problems(name: str, problems: Sequence[str]) -> str:
    lines = "\n".join(f"* {problem}" for problem in problems)
    return f"Problems of {name}:\n\n{lines}\n\n"


def _times(name: str, figures: dict[str, Any]) -> str:
    copies = figures["copy_bandwidth"] / 1e12
    head = f"Times of {name}; the floor is bytes read and written once at {copies:.2f} TB/s, as copies run here:\n\n"
    rows = [
        [
            row["workload"],
            row["batch"],
            row["dtype"],
            row["tactic"],
            "-" if row["us"] is None else f"{row['us']:.1f}",
            "-" if row.get("floor_us") is None else f"{row['floor_us']:.1f}",
            "-" if row.get("floor_ratio") is None else f"{row['floor_ratio']:.2f}",
            _range(row.get("predicted_us")),
        ]
        for row in figures["rows"]
    ]
    return head + table(["layer", "batch", "dtype", "kernel", "us", "floor us", "ratio", "predicted us"], rows, 4)


def _range(predicted: Sequence[float] | None) -> str:
    return f"{predicted[0]:.0f} to {predicted[1]:.0f}" if predicted else "-"


def _prediction(report: dict[str, Any]) -> str:
    text = (
        "## Predicted, not measured\n\n"
        f"By `scripts/kernel_report.py` on {report['date']} from the machine code of the kernels at commit "
        f"{report['commit']} (sources {report['sources']}): batch {report['batch']}, {report['dtype']}, bias on. The "
        "floor is bytes read and written once at the data sheet's bandwidth. Predicted times reach from perfect "
        "overlap of all units to almost none; the truth lies between, and nothing here replaces a measurement.\n\n"
    )
    for architecture in report["architectures"]:
        text += _architecture(architecture)
    return text


def _architecture(architecture: dict[str, Any]) -> str:
    gpu, rows = architecture["gpu"], architecture["launches"]
    head = f"### {gpu['name']} (sm_{architecture['compute_capability']})\n\n"
    times = [
        [
            row["workload"],
            row["tactic"],
            row["binding"],
            f"{row['floor_us']:.1f}",
            _range(row["predicted_us"]),
            f"{row['floor_ratio'][0]:.2f} to {row['floor_ratio'][1]:.2f}",
        ]
        for row in rows
    ]
    text = head + table(["layer", "kernel", "bound by", "floor us", "predicted us", "floor / predicted"], times, 3)
    seen: dict[str, list[Any]] = {}
    for row in rows:
        held = row["occupancy"]
        seen.setdefault(
            row["kernel"],
            [
                f"`{row['kernel']}`",
                held["limit"],
                row["registers"],
                row["spill_bytes"],
                row["shared_bytes"],
                f"{held['blocks']} ({held['warps']})",
                sum(row["main_loop"].values()),
            ],
        )
    columns = ["kernel", "occupancy limited by", "registers", "spilled", "shared bytes", "blocks (warps) per SM"]
    return text + table([*columns, "main loop"], list(seen.values()), 5)


def main() -> None:
    """Write the page."""
    target = FOLDER / "README.md"
    target.write_text(page(), encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
