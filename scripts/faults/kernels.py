"""Faults in the CUDA kernels. tests/plugins/test_planted_faults.py plants them: it takes a C++ compiler, not an import.

They judge more than the kernels: the shapes that the tests try, and the emulation that has to notice what would only
now and then show on a GPU, such as a missing barrier.
"""

from __future__ import annotations

from collections.abc import Mapping

from faults.fault import Fault


def _planted(family: str, file: str, texts: Mapping[str, tuple[str, str]]) -> tuple[Fault, ...]:
    """Give faults in one file, noticed by runs of one kernel family (launch_FAMILY.cu)."""
    return tuple(
        Fault(f"{family}/{what}", f"plugins/op/kernels/{file}", old, new, ()) for what, (old, new) in texts.items()
    )


_GENERIC = _planted("generic", "generic.cuh", {
    "channels-of-half-the-lanes": ("distance < kLanes;", "2 * distance < kLanes;"),
    "keys-behind-the-row": ("first + i < row.length ? score : -INFINITY", "score"),
    "output-not-rescaled": ("output[i] *= factor;", ";"),
    "sum-not-rescaled": ("sum *= factor;", ""),
    "bias-of-the-first-head": ("static_cast<int64_t>(place.head) * (2", "int64_t{0} * (2"),
    "bias-of-the-first-key": ("row.bias[column]", "row.bias[0]"),
    "lanes-leave-before-a-shuffle": (
        "attend_one_query<Plan>(p, tensors, place, is_real ? token : tokens - 1, is_real, lane);",
        "if (is_real) attend_one_query<Plan>(p, tensors, place, token, is_real, lane);",
    ),
    "queries-behind-the-map": ("is_real ? token : tokens - 1, is_real", "token, true"),
    "channels-behind-the-head": ("if (first >= head_dim) continue;", ""),
    "rows-for-columns": ("token / p.map.width), column = static_cast<int>(token % p.map.width)",
                         "token / p.map.height), column = static_cast<int>(token % p.map.height)"),
    "scale-missing": ("query[c] *= p.scale * kLog2E", "query[c] *= kLog2E"),
})  # fmt: skip

_GENERIC_WINDOWS = _planted("generic", "window.cuh", {
    "even-windows-look-ahead": ("place - kernel / 2", "place - (kernel - 1) / 2"),
    "relative-off-by-one": ("start - place + kernel - 1}", "start - place + kernel}"),
    "dilation-of-one": ("{group + start * dilation, dilation, start", "{group + start * dilation, 1, start"),
})  # fmt: skip

_TENSOR_CORE = _planted("tensor_core", "tensor_core.cuh", {
    "no-barrier-after-the-copies": ("gpu::sync_threads();  // all threads'", "//"),
    "no-barrier-before-a-stage-is-used-again": ("if (has_next) gpu::sync_threads();", ""),
    "no-barrier-after-the-bias-table": ("gpu::sync_threads();  // the table is there", ""),
    "no-warp-barrier-before-the-store": ("gpu::sync_warp();  // every lane", "//"),
    "no-warp-barrier-in-the-store": ("gpu::sync_warp();\n    const int", "const int"),
    "copies-read-before-they-land": ("wait_for_copies<1>", "wait_for_copies<2>"),
    "next-image-into-this-stage": ("(image + 1 - tile.first_image) %", "(image - tile.first_image) %"),
    "fragment-registers-swapped": (
        "packed_weights(scores[i], 1),\n                                   packed_weights(scores[i + 1], 0)",
        "packed_weights(scores[i + 1], 0), packed_weights(scores[i], 1)",
    ),
    "halves-of-a-value-swapped": ("weights, value[0], value[1]", "weights, value[1], value[0]"),
    "halves-of-a-key-swapped": ("key[2], key[3]", "key[3], key[2]"),
    "value-not-transposed": ("load_matrices_transposed", "load_matrices"),
    "swizzle-of-keys-forgotten": ("chunk_address<Plan>(keys_, key_token_, 4 * k + lane_ / 8)",
                                  "(keys_ + key_token_ * Plan::kTokenBytes + (4 * k + lane_ / 8) * 16)"),
    "window-too-wide": ("place < first + Plan::kKernel", "place <= first + Plan::kKernel"),
    "mask-of-rows-forgotten": ("is_inside(row, first_row[query]) && ", ""),
    "both-query-rows-take-one-window": ("2 * warp + i, tile.rows", "2 * warp, tile.rows"),
    "bias-transposed": ("(table_row[query] + row) * Plan::kTable + table_column + column",
                        "(table_column + column) * Plan::kTable + table_row[query] + row"),
    "bias-off-by-one": ("tile.columns.halo_first - query + Plan::kKernel - 1",
                        "tile.columns.halo_first - query + Plan::kKernel - 2"),
    "bias-of-the-first-head": ("rpb[static_cast<int64_t>(head) * kEntries + i]", "rpb[i + 0 * head]"),
    "bias-not-divided-by-the-scale": ("kEntries + i] / p.scale", "kEntries + i]"),
    "scale-twice": ("p.scale * 1.44269504088896341F", "p.scale * p.scale * 1.44269504088896341F"),
    "sum-not-rescaled": ("sum_[2 * query + i] *= factor;", ""),
    "output-not-rescaled": ("output_[chunk][2 * query + i] *= factor;", ";"),
    "maximum-of-two-lanes": ("maximum = fmaxf(maximum, gpu::shuffle_xor(maximum, 2));", ""),
    "steps-of-keys-left-out": ("first < Plan::kKeyBlocks; first += kBlocks",
                               "first < Plan::kKeyBlocks; first += 2 * kBlocks"),
})  # fmt: skip

_TENSOR_CORE_TILES = _planted("tensor_core", "tile_plan.cuh", {
    "halo-one-short": ("+ kernel - halo_first}", "+ kernel - halo_first - 1}"),
    "images-behind-the-batch": ("end < p.batch ? end : p.batch", "end"),
    "group-rows-and-columns-swapped": (
        "group_column = take_digit(index, p.dilation.width), group_row = take_digit(index, p.dilation.height)",
        "group_row = take_digit(index, p.dilation.width), group_column = take_digit(index, p.dilation.height)",
    ),
    "dilation-forgotten": ("return place * dilation + group;", "return place + group;"),
})  # fmt: skip

_TENSOR_CORE_LOADS = _planted("tensor_core", "tile_loader.cuh", {
    "keys-behind-the-map": ("row < tile_.rows.halo_length && ", ""),
    "queries-behind-the-map": ("tile_.rows.has_query(tile_.rows.first + row) &&", ""),
    "tokens-behind-the-halo-not-cleared": ("int kFirst = Plan::kHaloTokens", "int kFirst = Plan::kKeyTokens"),
    "values-for-keys": ("values_ + image * tensors_.value", "keys_ + image * tensors_.value"),
})  # fmt: skip

_TENSOR_CORE_WINDOWS = _planted("tensor_core", "window.cuh", {
    "groups-all-as-long-as-the-first": ("(extent - group + dilation - 1)", "(extent + dilation - 1 + 0 * group)"),
    "border-unclamped": ("at_most(start < 0 ? 0 : start, length - kernel)",
                         "at_most(start < 0 ? 0 : start, length)"),
    "window-starts-later": ("place - kernel / 2", "place - kernel / 2 + 1"),
})  # fmt: skip

FAULTS = (
    *_GENERIC,
    *_GENERIC_WINDOWS,
    *_TENSOR_CORE,
    *_TENSOR_CORE_TILES,
    *_TENSOR_CORE_LOADS,
    *_TENSOR_CORE_WINDOWS,
)
