// How the tensor-core kernel cuts a map into tiles, and where a tile's tokens lie in shared memory.
//
// A block computes 8x8 queries of one dilation group and one head. Their keys are the halo: the union of their windows.
//
//   kernel 3:    . . . . . . . . . .   10x10 halo (keys, values)      A warp owns two rows of queries, the 16 rows of an
//                . q q q q q q q q .                                  mma. Its keys are the kernel + 1 halo rows that the
//                . q q q q q q q q .   <- warp 0                      two windows span: one contiguous run of tokens in
//                . q q q q q q q q .                                  shared memory, cut into blocks of 8 keys, the 8
//                . q q q q q q q q .   <- warp 1                      columns of an mma, without padding. What lies
//                   ...                                               outside a query's window is masked.
//
// At the border of the map windows shift, so the halo shrinks; its shared memory keeps its shape, filled with zeros.
#pragma once

#include "op/kernels/tokens.cuh"

namespace natdeploy {

inline constexpr int kTileRows = 8;
inline constexpr int kTileColumns = 8;

template <class T_, int kKernel_, int kHeadDim_>
struct TilePlan {
  using T = T_;
  static constexpr int kKernel = kKernel_, kHeadDim = kHeadDim_;
  static constexpr int kWarps = kTileRows / 2, kThreads = 32 * kWarps;

  static constexpr int kHaloRows = kTileRows + kKernel - 1, kHaloColumns = kTileColumns + kKernel - 1;
  static constexpr int kWarpKeys = (kKernel + 1) * kHaloColumns;
  static constexpr int kBlocksWithKeys = (kWarpKeys + 15) / 16 * 2;  // of 8 keys; even, since P*V takes 16 at a time
  // Bias and mask are the same for all images: in registers where there is room for them.
  static constexpr bool kBiasInRegisters = kKernel <= 7 && kHeadDim == 32;
  // Blocks per step of the softmax: all at once with biases at hand, else as few scores as leave room to find them.
  static constexpr int kFewBlocks = kKernel >= 11 && kHeadDim > 32 ? 2 : 4;
  static constexpr int kStepBlocks = kBiasInRegisters ? kBlocksWithKeys : kFewBlocks;
  static constexpr int kKeyBlocks = (kBlocksWithKeys + kStepBlocks - 1) / kStepBlocks * kStepBlocks;

  // Tokens of shared memory: the halo, and what the last warp's last blocks reach behind it.
  static constexpr int kHaloTokens = kHaloRows * kHaloColumns;
  static constexpr int kKeyTokens = (kTileRows - 2) * kHaloColumns + kKeyBlocks * 8;
  static constexpr int kQueryTokens = kTileRows * kTileColumns;

  static constexpr int kChunks = kHeadDim / kChunkElements;  // of a token
  static constexpr int kTokenBytes = kHeadDim * 2;
  static constexpr int kKeysAt = 0, kValuesAt = kKeyTokens * kTokenBytes, kQueriesAt = 2 * kValuesAt;
  static constexpr int kStageBytes = kQueriesAt + kQueryTokens * kTokenBytes;

  // Two stages overlap the loads of the next image with this one's arithmetic, as long as two blocks fit an SM.
  static constexpr int kStages = 2 * kStageBytes <= (75 << 10) ? 2 : 1;
  static constexpr int kTable = 2 * kKernel - 1;  // rows and columns of the bias table
  static constexpr int kTableAt = kStages * kStageBytes;
  static constexpr int kSharedBytes = kTableAt + kTable * kTable * 4;

  // Loading: four threads share a token, and keep their column of the halo.
  static constexpr int kRowsPerLoad = kThreads / (4 * kHaloColumns);

  static_assert(kHeadDim % 32 == 0 && kRowsPerLoad > 0, "four threads load a token; a halo row has at most 32");
  static_assert(kHaloTokens <= kKeyTokens && kStepBlocks % 2 == 0, "P*V takes 16 keys at a time");
  static_assert(kSharedBytes <= (99 << 10), "what a block may have on sm_86, sm_89 and sm_120");
};

// A tile along one axis, in places of its dilation group (window.cuh).
struct AxisTile : AxisGroup {
  int first;                    // query
  int halo_first, halo_length;  // keys

  GPU_FUNCTION bool has_query(int place) const { return place < length; }
};

GPU_FUNCTION AxisTile axis_tile(const AxisGroup& group, int kernel, int first, int tile) {
  const int halo_first = window_start(first, group.length, kernel);
  const int last_window = window_start(first + tile - 1, group.length, kernel);  // a tile may end behind its group
  return {group, first, halo_first, last_window + kernel - halo_first};
}

// What one block computes: a tile of one head, for some images one after the other.
struct BlockTile {
  AxisTile rows, columns;
  int head;
  int64_t first_image, end_image;
};

// How the blocks of the grid are counted: heads fastest, since neighbouring heads share 128-byte lines of memory.
struct TileGrid {
  int tile_rows, tile_columns;  // of the longest dilation group
  int64_t images_per_block;

  __host__ __device__ int64_t blocks_per_image(const AttentionParameters& p) const {
    return static_cast<int64_t>(tile_rows) * tile_columns * p.dilation.height * p.dilation.width * p.heads;
  }
};

GPU_FUNCTION BlockTile block_tile(const AttentionParameters& p, const TileGrid& grid, int64_t index) {
  BlockTile tile;
  tile.head = take_digit(index, p.heads);
  const int first_column = take_digit(index, grid.tile_columns) * kTileColumns;
  const int first_row = take_digit(index, grid.tile_rows) * kTileRows;
  const int group_column = take_digit(index, p.dilation.width), group_row = take_digit(index, p.dilation.height);
  const AxisGroup rows = axis_group(p.map.height, group_row, p.dilation.height);
  const AxisGroup columns = axis_group(p.map.width, group_column, p.dilation.width);
  tile.rows = axis_tile(rows, p.kernel_size.height, first_row, kTileRows);
  tile.columns = axis_tile(columns, p.kernel_size.width, first_column, kTileColumns);
  tile.first_image = index * grid.images_per_block;
  const int64_t end = tile.first_image + grid.images_per_block;
  tile.end_image = end < p.batch ? end : p.batch;
  return tile;
}

}  // namespace natdeploy
