"""How much memory a run of a file takes at least: so that an export that could never run is refused at once.

A lower bound, on purpose: it refuses only what cannot fit. Measured with ONNX Runtime 1.32 on nat_mini, batch 1, one
thread, beside 76 MiB of weights: the portable form took 241 MiB at 512 pixels, 886 at 1024 and 3530 at 2048 (bound:
171, 682, 2729), the hybrid form 335, 1111 and 4328.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from natdeploy.models.config import ModelConfig
from natdeploy.ops.onnx_tiles import TILE, WHOLE

_FLOAT = 4  # bytes


def bytes_at_run_time(config: ModelConfig, form: str, size: tuple[int, int], batch: int) -> int:
    """Give a lower bound of the memory that one run takes beside the weights.

    Args:
        config: The model.
        form: The plugin form keeps neither tables nor scores; the other two attend over tiles (ops/onnx_tiles.py).
        size: (height, width) of the image.
        batch: Images at once.
    """
    tables, largest = 0, 0
    for stage, (height, width) in enumerate(_maps(config, size)):
        for dilation in config.dilations[stage]:
            window = config.kernel_size * dilation
            extents = (max(height, window), max(width, window))  # the model pads smaller maps
            numbers = 4 * math.prod(extents) * config.stage_dim(stage)  # a layer's input, query, key and value
            if form != "plugin":
                keys, pairs = _tiled(extents, config.kernel_size, dilation)
                bias = config.num_heads[stage] * pairs  # of every pair: computed once, then kept
                tables += bias
                numbers += bias + 2 * keys * config.stage_dim(stage)  # the scores, and the gathered keys and values
            largest = max(largest, numbers)
    image = config.num_channels * math.prod(size)
    return _FLOAT * (tables + batch * (image + largest))


def memory_of_this_machine() -> int | None:
    """Give the bytes of physical memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _maps(config: ModelConfig, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(height, width) of each stage's map: the stem reduces by its patch, every stage after it by 2."""
    height, width = (math.ceil(edge / config.patch_size) for edge in size)
    for _ in config.depths:
        yield height, width
        height, width = math.ceil(height / 2), math.ceil(width / 2)


def _tiled(extents: tuple[int, int], kernel: int, dilation: int) -> tuple[int, int]:
    """Count the keys of all tiles of a map, and its pairs of query and key."""
    all_keys = all_pairs = 1
    for extent in extents:
        longest = math.ceil(extent / dilation)  # of the dilation groups
        tiles = 1 if longest <= WHOLE else math.ceil(longest / TILE)
        queries = math.ceil(longest / tiles)
        keys = min(queries + kernel - 1, longest)
        all_keys *= dilation * tiles * keys
        all_pairs *= dilation * tiles * keys * queries
    return all_keys, all_pairs
