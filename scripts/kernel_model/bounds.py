"""How long a launch takes at least: each unit of the GPU by itself, then all of them with and without overlap.

Nothing here was measured. The counts of loads, products and exponentials are exact (from the emulation); the others
follow from the machine code of the loops, where every branch counts as taken, so they are upper bounds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernel_model.gpus import GPUS, Gpu, Occupancy, occupancy
from kernel_model.launches import Launch
from kernel_model.sass import Instruction, Loop, loops_of, main_loop, mix
from kernel_model.toolkit import Resources
from kernel_model.workloads import Workload

PRODUCTS_PER_MMA = 16 * 8 * 16
COPY_EFFICIENCY = 0.92  # of the data sheet's bandwidth, what a plain copy reaches; an H200: 4.3 of 4.8 TB/s
# Launch, first loads and last stores of a kernel, microseconds: assumed.
OVERHEAD_US = {"overlapped": 4.0, "serial": 6.0}
# Units never wait for each other completely, even in code that does one thing after the other: assumed.
SERIAL_SHARE = 0.85


@dataclass(frozen=True)
class Bound:
    """Prediction for one launch on one GPU; all times in microseconds.

    Args:
        units: Time of each unit, were it alone: memory, l2, mma, exponentials, shared, issue, float, integer.
        binding: The unit that takes longest.
        floor: Compulsory bytes at the data sheet's bandwidth.
        overlapped: With perfect overlap.
        serial: With almost none.
        waves: Rounds of blocks that the grid makes.
    """

    units: Mapping[str, float]
    binding: str
    floor: float
    overlapped: float
    serial: float
    waves: float
    occupancy: Occupancy

    @property
    def floor_ratio(self) -> tuple[float, float]:
        """Floor over predicted time, without and with overlap."""
        return self.floor / self.serial, self.floor / self.overlapped


def iterations(loops: Sequence[Loop], launch: Launch, warps: int) -> list[float]:
    """Estimate how often all warps together run the body of each loop.

    Loops with tensor-core instructions, matrix loads, exponentials or shuffles: solved from the exact counts, with
    alternatives sharing them. An outermost loop without any runs once per warp, since grids have a warp for every piece
    of work; one between it and such loops as often as they do, at most; any other once per warp.
    """
    anchored = [(loop, _anchors(loop)) for loop in loops]
    totals = np.array([launch.products, launch.matrices, launch.exponentials, launch.shuffles])
    unknown = [i for i, (_, anchors) in enumerate(anchored) if any(anchors)]
    found = [float(warps)] * len(loops)
    if unknown:
        present = totals > 0
        matrix = np.array([anchored[i][1] for i in unknown], float).T[present] / totals[present, None]
        solved = np.linalg.lstsq(matrix, np.ones(len(matrix)), rcond=None)[0]
        for place, value in zip(unknown, solved, strict=True):
            found[place] = max(0.0, float(value))
    for i, loop in enumerate(loops):
        inner = [found[j] for j in unknown if loop.contains(loops[j])]
        if i not in unknown and inner and loop.depth > 1:
            found[i] = max(inner)
    return found


def _anchors(loop: Loop) -> list[int]:
    return [loop.count("mma"), loop.count("load_matrix"), loop.exponentials(), loop.count("shuffle")]


def executed(instructions: Sequence[Instruction], launch: Launch) -> Counter[tuple[str, str]]:
    """Count the warp instructions of a whole launch, by class and opcode."""
    outside, loops = loops_of(instructions)
    parts = [(outside, float(launch.warps))]
    parts += list(zip((loop.body for loop in loops), iterations(loops, launch, launch.warps), strict=True))
    counts: Counter[tuple[str, str]] = Counter()
    for body, times in parts:
        for instruction in body:
            counts[instruction.kind, instruction.opcode] += times  # type: ignore[assignment]
    exact = {"mma": launch.products, "load_matrix": launch.matrices, "copy_async": launch.copies}
    exact["shuffle"] = launch.shuffles
    for kind, total in exact.items():
        static = sum(count for (name, _), count in counts.items() if name == kind)
        for key in [key for key in counts if key[0] == kind]:
            counts[key] *= total / static if static else 0
    return counts


def access_cycles(kind: str, opcode: str) -> float:
    """Cycles for which one warp instruction holds the path to shared memory and L1, 128 bytes wide."""
    if kind in ("load_matrix", "copy_async"):
        return 4.0
    if kind in ("load_shared", "store_shared", "load_global", "store_global", "spill"):
        width = re.search(r"\.(128|64)\b", opcode)
        return int(width[1]) / 32 if width else 1.0
    return 1.0 if kind == "shuffle" else 0.0


def unit_cycles(counts: Mapping[tuple[str, str], float], gpu: Gpu) -> dict[str, float]:
    """Cycles of all multiprocessors together, by unit."""
    sm = gpu.multiprocessor
    cycles = dict.fromkeys(("mma", "exponentials", "shared", "issue", "float", "integer"), 0.0)
    for (kind, opcode), count in counts.items():
        cycles["issue"] += count / 4
        cycles["shared"] += count * access_cycles(kind, opcode)
        if kind == "mma":
            cycles["mma"] += count * PRODUCTS_PER_MMA / sm.half_products
        elif kind in ("mufu", "convert"):
            cycles["exponentials"] += count * 32 / sm.mufu_lanes
        elif kind == "float" or opcode.startswith("IMAD"):
            cycles["float"] += count * 32 / sm.float_lanes
        elif kind in ("integer", "min_max_pack", "move"):
            cycles["integer"] += count * 32 / sm.integer_lanes
    return cycles


def bound_of(
    instructions: Sequence[Instruction], resources: Resources, launch: Launch, workload: Workload, gpu: Gpu
) -> Bound:
    """Predict one launch."""
    held = occupancy(
        gpu.compute_capability, launch.threads, resources.registers, launch.shared_bytes + resources.shared_bytes
    )
    cycles = unit_cycles(executed(instructions, launch), gpu)
    units = {name: 1e6 * count / gpu.multiprocessors / gpu.clock for name, count in cycles.items()}
    compute = dict(units)
    floor = 1e6 * workload.compulsory_bytes / gpu.bandwidth
    units["memory"] = floor / COPY_EFFICIENCY
    l2_bytes = max(launch.copied_bytes + workload.compulsory_bytes / 4, workload.compulsory_bytes)
    units["l2"] = 1e6 * l2_bytes / gpu.l2_bandwidth
    waves = launch.grid / max(1, held.blocks * gpu.multiprocessors)
    tail = -(-waves // 1) / waves if waves else 1.0
    memory = max(units["memory"], units["l2"])
    in_turn = sum(compute[name] for name in ("issue", "exponentials", "mma", "shared"))
    return Bound(
        units=units,
        binding=max(units, key=lambda name: units[name]),
        floor=floor,
        overlapped=max(units.values()) + OVERHEAD_US["overlapped"],
        serial=max(memory, SERIAL_SHARE * in_turn * min(tail, 2.0)) + OVERHEAD_US["serial"],
        waves=waves,
        occupancy=held,
    )


def main_loop_mix(instructions: Sequence[Instruction]) -> Counter[str]:
    """Instruction classes in the loop that does the work; empty where a kernel has none."""
    loop = main_loop(loops_of(instructions)[1])
    return mix(loop.body) if loop else Counter()


def gpu_for(compute_capability: int) -> Gpu:
    """Give the product that stands for a compute capability."""
    return GPUS[compute_capability]
