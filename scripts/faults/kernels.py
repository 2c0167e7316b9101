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
    "copies-read-before-they-land": ("wait_for_copies<1>", "wait_for_copies<2>"),
    "next-image-into-this-stage": ("(image + 1 - tile.first_image) %", "(image - tile.first_image) %"),
    "window-too-wide": ("place < first + Plan::kKernel", "place <= first + Plan::kKernel"),
    "mask-of-rows-forgotten": ("is_inside(row, first_row[query]) && ", ""),
    "both-query-rows-take-one-window": ("2 * warp + i, tile.rows", "2 * warp, tile.rows"),
    "bias-transposed": ("(table_row[query] + row) * Plan::kTable + table_column + column",
                        "(table_column + column) * Plan::kTable + table_row[query] + row"),
    "bias-off-by-one": ("tile.columns.halo_first - query + Plan::kKernel - 1",
                        "tile.columns.halo_first - query + Plan::kKernel - 2"),
    "steps-of-keys-left-out": ("block += Plan::kStepBlocks", "block += 2 * Plan::kStepBlocks"),
    "every-step-is-the-first": ("8 * block, block == 0,", "8 * block, true,"),
})  # fmt: skip

_TENSOR_CORE_WARPS = _planted("tensor_core", "warp_attention.cuh", {
    "no-warp-barrier-before-the-store": ("gpu::sync_warp();  // every lane", "//"),
    "no-warp-barrier-in-the-store": ("    }\n    gpu::sync_warp();", "    }"),
    "fragment-registers-swapped": (
        "packed_weights(scores[block], 1),\n                                   packed_weights(scores[block + 1], 0)",
        "packed_weights(scores[block + 1], 0), packed_weights(scores[block], 1)",
    ),
    "halves-of-a-value-swapped": ("weights, value[0], value[1]", "weights, value[1], value[0]"),
    "halves-of-a-key-swapped": ("key[2], key[3]", "key[3], key[2]"),
    "value-not-transposed": ("load_matrices_transposed", "load_matrices"),
    "permutation-of-keys-forgotten": ("chunk_address<kHeadDim>(keys, first_key + lane_ % 8, 4 * k + lane_ / 8)",
                                      "(keys + (first_key + lane_ % 8) * kTokenBytes + (4 * k + lane_ / 8) * 16)"),
    "bias-of-the-first-head": ("rpb[static_cast<int64_t>(head) * entries + i]", "rpb[i + 0 * head]"),
    "bias-not-divided-by-the-scale": ("entries + i] / p.scale", "entries + i]"),
    "scale-twice": ("scale_(scale * 1.44", "scale_(scale * scale * 1.44"),
    "sum-not-rescaled": ("sum_[j] *= factor;", ""),
    "output-not-rescaled": ("output_[chunk][j] *= factor;", ";"),
    "maximum-of-two-lanes": ("maximum = fmaxf(maximum, gpu::shuffle_xor(maximum, 2));", ""),
})  # fmt: skip

_TENSOR_CORE_TILES = _planted("tensor_core", "tile_plan.cuh", {
    "halo-one-short": ("last_window + kernel - halo_first}", "last_window + kernel - halo_first - 1}"),
    "images-behind-the-batch": ("end < p.batch ? end : p.batch", "end"),
    "group-rows-and-columns-swapped": (
        "group_column = take_digit(index, p.dilation.width), group_row = take_digit(index, p.dilation.height)",
        "group_row = take_digit(index, p.dilation.width), group_column = take_digit(index, p.dilation.height)",
    ),
})  # fmt: skip

_TENSOR_CORE_LOADS = _planted("tensor_core", "tile_loader.cuh", {
    "keys-behind-the-map": ("row < tile_.rows.halo_length && ", ""),
    "queries-behind-the-map": ("tile_.rows.has_query(tile_.rows.first + row) &&", ""),
    "keys-behind-the-halo-not-cleared": ("clear_tokens<Plan::kHeadDim>(stage + Plan::kKeysAt,",
                                         "if (false) clear_tokens<Plan::kHeadDim>(stage + Plan::kKeysAt,"),
    "values-behind-the-halo-not-cleared": ("clear_tokens<Plan::kHeadDim>(stage + Plan::kValuesAt,",
                                           "if (false) clear_tokens<Plan::kHeadDim>(stage + Plan::kValuesAt,"),
    "values-for-keys": ("values_ + image * tensors_.value", "keys_ + image * tensors_.value"),
})  # fmt: skip

_TENSOR_CORE_WINDOWS = _planted("tensor_core", "window.cuh", {
    "groups-all-as-long-as-the-first": ("(extent - group + dilation - 1)", "(extent + dilation - 1 + 0 * group)"),
    "border-unclamped": ("at_most(start < 0 ? 0 : start, length - kernel)",
                         "at_most(start < 0 ? 0 : start, length)"),
    "window-starts-later": ("place - kernel / 2", "place - kernel / 2 + 1"),
    "dilation-forgotten": ("return place * dilation + group;", "return place + group;"),
})  # fmt: skip

_WHOLE_MAP = _planted("whole_map", "whole_map.cuh", {
    "no-barrier-after-the-copies": ("gpu::sync_threads();  // all threads'", "//"),
    "no-barrier-before-a-stage-is-used-again": ("if (has_next) gpu::sync_threads();", ""),
    "no-barrier-after-the-bias-table": ("gpu::sync_threads();  // the table", "//"),
    "copies-read-before-they-land": ("wait_for_copies<1>", "wait_for_copies<2>"),
    "next-image-into-this-stage": ("loader.start(image + 1, stage_of(image + 1));\n      gpu",
                                   "loader.start(image + 1, stage_of(image));\n      gpu"),
    "window-too-high": ("rows < static_cast<unsigned>(kernel_rows)", "rows <= static_cast<unsigned>(kernel_rows)"),
    "mask-of-columns-forgotten": (" && columns < static_cast<unsigned>(kernel_columns)", ""),
    "both-queries-take-one-window": ("lane / 4 + 8 * i, map.tokens", "lane / 4, map.tokens"),
    "mask-of-the-other-query": ("windows_.hold(i / 2,", "windows_.hold(i % 2,"),
    "mask-of-the-other-half": ("(block < 8 ? masks_[0] : masks_[1])", "masks_[0]"),
    "bias-transposed": ("(kernel_rows - 1 - row[i]) * (2 * kernel_columns - 1)",
                        "(kernel_rows - 1 - row[i]) * (2 * kernel_rows - 1)"),
    "bias-off-by-one": ("kernel_columns - 1 - column[i];", "kernel_columns - column[i];"),
    "biases-of-neighbours-swapped": ("i % 2 == 0 ? entry.x", "i % 2 != 0 ? entry.x"),
    "queries-behind-the-map-stored": ("if (kWarpQueries * tile_ + lane_ / 4 + 8 * i >= map_.tokens) continue;", ""),
    "tiles-left-out": ("tile += Plan::kWarps)", "tile += 2 * Plan::kWarps)"),
    "steps-of-keys-left-out": ("step < steps; ++step", "step < steps; step += 2"),
})  # fmt: skip

_WHOLE_MAP_PLAN = _planted("whole_map", "map_plan.cuh", {
    "keys-one-row-short": ("end_row * columns - first", "(end_row - 1) * columns - first"),
    "keys-start-late": ("first_row * columns / 8 * 8", "(first_row * columns + 7) / 8 * 8"),
    "steps-behind-shared-memory": ("at_most(span.first, key_tokens - steps * Plan::kStepKeys)", "span.first"),
    "images-behind-the-batch": ("end < p.batch ? end : p.batch", "end"),
    "groups-of-the-other-axis": ("take_digit(index, p.dilation.width), p.dilation.width",
                                 "take_digit(index, p.dilation.height), p.dilation.width"),
})  # fmt: skip

_WHOLE_MAP_LOADS = _planted("whole_map", "map_loader.cuh", {
    "keys-for-values": ("copy(tensors_.value, image", "copy(tensors_.key, image"),
    "keys-behind-the-map-not-cleared": ("clear_tokens<Plan::kHeadDim>(stage.keys,",
                                        "if (false) clear_tokens<32>(stage.keys,"),
    "values-behind-the-map-not-cleared": ("clear_tokens<Plan::kHeadDim>(stage.values,",
                                          "if (false) clear_tokens<32>(stage.values,"),
    "one-image-for-all": ("image * view.batch_stride", "0 * view.batch_stride"),
    "tokens-left-out": ("token < map_.tokens;", "token + 1 < map_.tokens;"),
})  # fmt: skip

_WHOLE_MAP_TOKENS = _planted("whole_map", "tokens.cuh", {
    "head-forgotten": ("head * view.head_stride", "0 * view.head_stride"),
    "rows-for-columns": ("rows.token(row) * view.row_stride", "rows.token(column) * view.row_stride"),
})  # fmt: skip

_WHOLE_MAP_WARPS = _planted("whole_map", "warp_attention.cuh", {
    "sum-not-rescaled": ("sum_[j] *= factor;", ""),
    "halves-of-a-key-swapped": ("key[2], key[3]", "key[3], key[2]"),
})  # fmt: skip

FAULTS = (
    *_GENERIC,
    *_GENERIC_WINDOWS,
    *_TENSOR_CORE,
    *_TENSOR_CORE_WARPS,
    *_TENSOR_CORE_TILES,
    *_TENSOR_CORE_LOADS,
    *_TENSOR_CORE_WINDOWS,
    *_WHOLE_MAP,
    *_WHOLE_MAP_PLAN,
    *_WHOLE_MAP_LOADS,
    *_WHOLE_MAP_TOKENS,
    *_WHOLE_MAP_WARPS,
)
