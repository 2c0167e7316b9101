#!/usr/bin/env python
"""Say what bounds each kernel on a GPU, without a GPU: registers, occupancy, instructions, predicted times.

    python scripts/kernel_report.py --arch 90                      tables for reading
    python scripts/kernel_report.py --arch 80 --arch 90 --json docs/gpu/prediction.json

Needs g++ and CUDA's compiler and disassembler, which are Python packages (the error message names them).
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu_checks.result import commit_of
from kernel_model.bounds import Bound, bound_of, gpu_for, main_loop_mix
from kernel_model.gpus import GPUS
from kernel_model.launches import Launch, build_recorder, recorded_launches
from kernel_model.sass import Instruction, kernels_in_sass
from kernel_model.toolkit import Resources, Toolkit, demangled, find_toolkit, resources_from_log
from kernel_model.workloads import STAGES, Workload

from natdeploy.errors import NatdeployError

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ROOT / "plugins"
TACTICS = {1: "generic", 2: "tensor_core", 3: "whole_map"}


def main() -> int:
    arguments = _arguments()
    try:
        report = report_of(find_toolkit(arguments.toolkit), arguments.arch or [90], arguments.batch, arguments.dtype)
    except NatdeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(text_of(report))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", type=int, action="append", choices=list(GPUS), help="default 90; may be repeated")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float16")
    parser.add_argument("--toolkit", type=Path, help="folder with bin/nvcc, bin/cuobjdump and bin/nvdisasm")
    parser.add_argument("--json", type=Path, help="also write the report here")
    return parser.parse_args()


def report_of(toolkit: Toolkit, archs: list[int], batch: int, dtype: str) -> dict[str, Any]:
    """Compile, disassemble and model; gives what --json writes."""
    workloads = [Workload(**{**vars(stage), "batch": batch, "dtype": dtype}) for stage in STAGES]
    with tempfile.TemporaryDirectory() as scratch:
        program = build_recorder(toolkit.root / "include", Path(scratch))
        architectures = []
        for arch in archs:
            kernels = compiled_kernels(toolkit, arch, Path(scratch))
            rows = [row for w in workloads for row in _rows(program, w, arch, kernels)]
            architectures.append({"compute_capability": arch, "gpu": vars(gpu_for(arch)), "launches": rows})
    return {
        "schema": 1,
        "date": str(datetime.date.today()),
        "commit": commit_of(ROOT),
        "sources": source_digest(),
        "batch": batch,
        "dtype": dtype,
        "architectures": architectures,
    }


def compiled_kernels(toolkit: Toolkit, arch: int, scratch: Path) -> dict[str, tuple[Resources, list[Instruction]]]:
    """Give resources and machine code of every kernel by its mangled name."""
    found = {}
    for source in sorted((PLUGINS / "op").glob("*.cu")):
        cubin = scratch / f"{source.stem}-{arch}.cubin"
        resources = resources_from_log(toolkit.compiled(source, arch, [PLUGINS], cubin))
        code = kernels_in_sass(toolkit.disassembled(cubin))
        found.update({name: (resources[name], code[name]) for name in resources})
    return found


def _rows(program: Path, workload: Workload, arch: int, kernels: dict) -> list[dict[str, Any]]:
    gpu = gpu_for(arch)
    rows = []
    for launch in recorded_launches(program, workload, gpu.multiprocessors, arch):
        resources, code = kernels[launch.kernel]
        bound = bound_of(code, resources, launch, workload, gpu)
        rows.append(_row(workload, launch, resources, code, bound))
    return rows


def _row(
    workload: Workload, launch: Launch, resources: Resources, code: list[Instruction], bound: Bound
) -> dict[str, Any]:
    return {
        "workload": workload.name,
        "tactic": TACTICS[launch.tactic],
        "kernel": demangled([launch.kernel])[launch.kernel],
        "registers": resources.registers,
        "spill_bytes": resources.spill_bytes,
        "shared_bytes": launch.shared_bytes + resources.shared_bytes,
        "grid": launch.grid,
        "threads": launch.threads,
        "waves": round(bound.waves, 2),
        "occupancy": vars(bound.occupancy),
        "main_loop": dict(main_loop_mix(code).most_common()),
        "units_us": {name: round(time, 1) for name, time in bound.units.items()},
        "binding": bound.binding,
        "compulsory_bytes": workload.compulsory_bytes,
        "floor_us": round(bound.floor, 1),
        "predicted_us": [round(bound.overlapped, 1), round(bound.serial, 1)],
        "floor_ratio": [round(ratio, 2) for ratio in bound.floor_ratio],
    }


def source_digest() -> str:
    """Identify the kernel sources that a report is about."""
    digest = hashlib.sha256()
    for path in sorted(p for p in (PLUGINS / "op").rglob("*") if p.is_file()):
        digest.update(path.relative_to(PLUGINS).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def text_of(report: dict[str, Any]) -> str:
    """Lay a report out for reading."""
    lines = []
    for architecture in report["architectures"]:
        gpu = architecture["gpu"]
        lines += [
            f"{gpu['name']} (sm_{architecture['compute_capability']}), batch {report['batch']}, {report['dtype']}; "
            "predicted, not measured",
            "",
        ]
        for row in architecture["launches"]:
            lines += _row_text(row)
    return "\n".join(lines)


def _row_text(row: dict[str, Any]) -> list[str]:
    held = row["occupancy"]
    units = ", ".join(f"{name} {time}" for name, time in sorted(row["units_us"].items(), key=lambda u: -u[1]))
    loop = ", ".join(f"{kind} {count}" for kind, count in row["main_loop"].items())
    overlapped, serial = row["predicted_us"]
    low, high = row["floor_ratio"]
    return [
        f"{row['workload']}: {re.sub('<.*', '', row['kernel'])}",
        f"  {row['registers']} registers, {row['spill_bytes']} bytes spilled, {row['shared_bytes']} bytes shared; "
        f"{held['blocks']} blocks = {held['warps']} warps per multiprocessor, limited by {held['limit']}; "
        f"{row['waves']} waves",
        f"  main loop of {sum(row['main_loop'].values())}: {loop}",
        f"  us: {units}",
        f"  bound by {row['binding']}; floor {row['floor_us']} us, predicted {overlapped} to {serial} us = "
        f"{low:.0%} to {high:.0%} of the floor",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
