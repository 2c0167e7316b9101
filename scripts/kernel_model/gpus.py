"""What a multiprocessor of each compute capability holds, and what the GPUs that we model can do per second.

Limits: CUDA programming guide, table of compute capabilities. Rates: vendors' data sheets; where a figure is marked
assumed, it is a guess to be replaced by a measurement (`scripts/run_gpu_checks.sh` measures bandwidth).
"""

from __future__ import annotations

from dataclasses import dataclass

REGISTERS = 65536  # per multiprocessor, all capabilities here
REGISTERS_PER_WARP_STEP = 256  # registers are given to a warp in steps of this many
SHARED_STEP = 128  # bytes


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of one compute capability.

    Args:
        max_warps: Resident warps.
        max_blocks: Resident blocks.
        shared_bytes: Shared memory of all resident blocks.
        reserved_shared_bytes: What the system takes of it per block.
        half_products: fp16 multiply-adds with fp32 sums per clock by ``mma.sync``.
        mufu_lanes: Special functions (exponentials) per clock.
        float_lanes: float32 multiply-adds per clock.
        integer_lanes: Integer operations per clock.
    """

    max_warps: int
    max_blocks: int
    shared_bytes: int
    reserved_shared_bytes: int
    half_products: int
    mufu_lanes: int = 16
    float_lanes: int = 128
    integer_lanes: int = 64


MULTIPROCESSORS = {
    75: Multiprocessor(32, 16, 64 << 10, 0, 512, float_lanes=64),
    80: Multiprocessor(64, 32, 164 << 10, 1024, 1024, float_lanes=64),
    86: Multiprocessor(48, 16, 100 << 10, 1024, 512),
    87: Multiprocessor(48, 16, 164 << 10, 1024, 1024),
    89: Multiprocessor(48, 24, 100 << 10, 1024, 512),
    # 2048 by wgmma; mma.sync reaches about 62 % of that (assumed from published microbenchmarks)
    90: Multiprocessor(64, 32, 228 << 10, 1024, 1270),
    100: Multiprocessor(64, 32, 228 << 10, 1024, 1270),  # assumed as 9.0
    120: Multiprocessor(48, 24, 100 << 10, 1024, 256),  # GeForce with fp32 sums; twice that in professional cards
}


@dataclass(frozen=True)
class Gpu:
    """One product.

    Args:
        clock: Hz while computing (boost).
        bandwidth: Bytes per second of device memory.
    """

    name: str
    compute_capability: int
    multiprocessors: int
    clock: float
    bandwidth: float

    @property
    def multiprocessor(self) -> Multiprocessor:
        """Limits of its multiprocessors."""
        return MULTIPROCESSORS[self.compute_capability]

    @property
    def l2_bandwidth(self) -> float:
        """Assumed: 24 bytes per clock and multiprocessor, 5.5 TB/s on an H100."""
        return 24 * self.clock * self.multiprocessors


GPUS = {
    75: Gpu("T4", 75, 40, 1.59e9, 0.32e12),
    80: Gpu("A100 SXM 80 GB", 80, 108, 1.41e9, 2.04e12),
    86: Gpu("A10", 86, 72, 1.695e9, 0.6e12),
    87: Gpu("Jetson AGX Orin 64 GB", 87, 16, 1.3e9, 0.2048e12),
    89: Gpu("L40S", 89, 142, 2.52e9, 0.864e12),
    90: Gpu("H100 SXM", 90, 132, 1.755e9, 3.35e12),
    100: Gpu("B200", 100, 148, 1.85e9, 8.0e12),
    120: Gpu("RTX 5090", 120, 170, 2.41e9, 1.792e12),
}


@dataclass(frozen=True)
class Occupancy:
    """Blocks and warps that one multiprocessor holds at a time, and what keeps it from holding more."""

    blocks: int
    warps: int
    fraction: float
    limit: str


def occupancy(compute_capability: int, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """Compute the occupancy of a kernel.

    Args:
        compute_capability: 90 for 9.0.
        threads: Per block.
        registers: Per thread.
        shared_bytes: Per block, static and dynamic.
    """
    sm = MULTIPROCESSORS[compute_capability]
    warps = -(-threads // 32)
    registers_per_warp = -(-registers * 32 // REGISTERS_PER_WARP_STEP) * REGISTERS_PER_WARP_STEP
    shared = -(-(shared_bytes + sm.reserved_shared_bytes) // SHARED_STEP) * SHARED_STEP
    limits = {
        "warps": sm.max_warps // warps,
        "blocks": sm.max_blocks,
        # each quarter of a multiprocessor has a quarter of the registers, and whole warps only
        "registers": 4 * (REGISTERS // 4 // registers_per_warp) // warps if registers else sm.max_blocks,
        "shared memory": sm.shared_bytes // shared if shared else sm.max_blocks,
    }
    limit = min(limits, key=lambda name: limits[name])
    blocks = limits[limit]
    return Occupancy(blocks, blocks * warps, blocks * warps / sm.max_warps, limit)
