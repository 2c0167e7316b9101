// How the whole-map kernel shares a map among its warps.
//
// A block computes one dilation group of one head: all its tokens lie in shared memory, row after row, and no key is
// read twice. (At 224 pixels DiNAT's dilation groups are 7x7 tokens: independent of each other, and all keys are in every
// window.) A warp's tile is 16 queries that follow each other, whatever the width:
//
//   map 5x7     0 0 0 0 0 0 0      its keys are the rows that the windows of its first and last query span, from a
//               0 0 0 0 0 0 0      multiple of 8 on: one contiguous run of tokens, taken in blocks of 8. What lies
//   tile of a   0 0 1 1 1 1 1      outside a query's window is masked, as in the tensor-core kernel.
//   query       1 1 1 1 1 1 1
//               1 1 1 1 2 2 2      Keys and values behind the map (up to whole steps) are zero.
#pragma once

#include "op/kernels/tokens.cuh"
#include "op/kernels/warp_attention.cuh"
#include "op/map_grid.h"

namespace natdeploy {

inline constexpr int kMostKeptKeys = 128;  // for which a lane keeps two masks of 32 bits

// What a warp keeps from image to image, since it is the same for all of them.
enum class Kept {
  kBiases,  // of every score: one tile per warp, one step of keys
  kMasks,   // a bit per score: one tile per warp, up to 128 keys; biases come from shared memory
  kNothing  // as many tiles and steps as the map needs
};

template <class T_, int kHeadDim_, int kWarps_, Kept kKept_>
struct MapPlan {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_, kWarps = kWarps_, kThreads = 32 * kWarps_;
  static constexpr Kept kKept = kKept_;
  static constexpr int kStepKeys = kKept == Kept::kBiases ? 64 : 32;  // of the softmax: scores that registers can hold
  static constexpr int kSteps = kKept == Kept::kBiases ? 1 : kKept == Kept::kMasks ? kMostKeptKeys / kStepKeys : 0;
  // At least: with 12 warps, a thread has 168 registers.
  static constexpr int kBlocksPerMultiprocessor = kHeadDim == 32 && kWarps <= 12 ? 12 / kWarps : 1;
};

// What one block computes: a dilation group of one head, for some images one after the other.
struct BlockMap {
  AxisGroup rows, columns;
  int tokens;
  int kernel_rows, kernel_columns;
  int head;
  int64_t first_image, end_image;

  GPU_FUNCTION int row(int token) const { return token / columns.length; }
  GPU_FUNCTION int column(int token) const { return token % columns.length; }
};

// Blocks are counted heads fastest, since neighbouring heads share 128-byte lines of memory.
GPU_FUNCTION BlockMap block_map(const AttentionParameters& p, int64_t images_per_block, int64_t index) {
  BlockMap map;
  map.head = take_digit(index, p.heads);
  map.columns = axis_group(p.map.width, take_digit(index, p.dilation.width), p.dilation.width);
  map.rows = axis_group(p.map.height, take_digit(index, p.dilation.height), p.dilation.height);
  map.tokens = map.rows.length * map.columns.length;
  map.kernel_rows = p.kernel_size.height;
  map.kernel_columns = p.kernel_size.width;
  map.first_image = index * images_per_block;
  const int64_t end = map.first_image + images_per_block;
  map.end_image = end < p.batch ? end : p.batch;
  return map;
}

// The keys that a tile's queries look at: `count` from `first` on, a multiple of 8.
struct KeySpan {
  int first, count;
};

GPU_AND_HOST_FUNCTION KeySpan keys_of_tile(int rows, int columns, int kernel_rows, int tile) {
  const int first_query = kWarpQueries * tile, last_query = first_query + kWarpQueries - 1;
  const int first_row = window_start(first_query / columns, rows, kernel_rows);
  const int end_row = window_start(last_query / columns, rows, kernel_rows) + kernel_rows;  // inside the map, always
  const int first = first_row * columns / 8 * 8;
  return {first, end_row * columns - first};
}

// The same in steps of the softmax, all of them inside shared memory.
template <class Plan>
GPU_FUNCTION KeySpan steps_of_tile(const BlockMap& map, int tile, int key_tokens) {
  const KeySpan span = keys_of_tile(map.rows.length, map.columns.length, map.kernel_rows, tile);
  const int steps = Plan::kSteps > 0 ? Plan::kSteps : (span.count + Plan::kStepKeys - 1) / Plan::kStepKeys;
  return {at_most(span.first, key_tokens - steps * Plan::kStepKeys), steps};
}

}  // namespace natdeploy
