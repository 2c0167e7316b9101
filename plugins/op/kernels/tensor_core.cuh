// The tensor-core kernel: tiles of 8x8 queries against their halo in shared memory (tile_plan.cuh draws them).
//
// A warp owns two rows of queries, so a lane's two queries (warp_attention.cuh) stand one above the other.
#pragma once

#include "op/kernels/tile_loader.cuh"
#include "op/kernels/warp_attention.cuh"

namespace natdeploy {

// Where the windows of this lane's two queries lie in the halo.
template <class Plan>
struct LaneWindows {
  const float* table;
  int pair;
  int first_row[2], first_column;   // halo row of each query's window, halo column of both
  int table_row[2], table_column;   // + halo row, + halo column: place in the bias table

  GPU_FUNCTION LaneWindows(const BlockTile& tile, const float* bias_table, int warp, int lane)
      : table(bias_table), pair(lane % 4) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = at_most(tile.rows.first + 2 * warp + i, tile.rows.length - 1);
      first_row[i] = window_start(query, tile.rows.length, Plan::kKernel) - tile.rows.halo_first;
      table_row[i] = tile.rows.halo_first - query + Plan::kKernel - 1;
    }
    const int query = at_most(tile.columns.first + lane / 4, tile.columns.length - 1);
    first_column = window_start(query, tile.columns.length, Plan::kKernel) - tile.columns.halo_first;
    table_column = tile.columns.halo_first - query + Plan::kKernel - 1;
  }

  GPU_FUNCTION int first_key() const { return first_row[0] * Plan::kHaloColumns; }

  GPU_FUNCTION static bool is_inside(int place, int first) { return place >= first && place < first + Plan::kKernel; }

  // Biases of this lane's scores in a block of 8 keys; far below everything where the key is outside the window.
  GPU_FUNCTION void bias_of_block(int block, float (&bias)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int query = i / 2, key = block * 8 + 2 * pair + i % 2;
      const int row = first_row[0] + key / Plan::kHaloColumns, column = key % Plan::kHaloColumns;
      const bool inside = is_inside(row, first_row[query]) && is_inside(column, first_column);
      bias[i] = inside ? table[(table_row[query] + row) * Plan::kTable + table_column + column] : kOutsideWindow;
    }
  }
};

// Blocks whose biases are found again all the same. On sm_100 and sm_120, not on older GPUs, window 7 takes one register
// too many: nvcc 13.0 spilled 32 and 12 bytes. The emulation runs both ways, as the newest GPUs do.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 1000
inline constexpr int kBlocksNotKept = 1;
#else
inline constexpr int kBlocksNotKept = 0;
#endif

// Biases of all of a warp's keys, the same for all images: in registers, or found again for every step.
template <class Plan>
struct WarpBias {
  static constexpr int kKept = Plan::kBiasInRegisters ? Plan::kKeyBlocks - kBlocksNotKept : 1;
  const LaneWindows<Plan>& windows;
  float kept[kKept][4];

  GPU_FUNCTION explicit WarpBias(const LaneWindows<Plan>& lane_windows) : windows(lane_windows) {
    if constexpr (Plan::kBiasInRegisters) {
#pragma unroll
      for (int block = 0; block < kKept; ++block) windows.bias_of_block(block, kept[block]);
    }
  }

  // `block` is known to the compiler where biases are kept: all blocks are one step.
  GPU_FUNCTION void of_block(int block, float (&bias)[4]) const {
    if (Plan::kBiasInRegisters && block < kKept) {
#pragma unroll
      for (int i = 0; i < 4; ++i) bias[i] = kept[block][i];
    } else {
      windows.bias_of_block(block, bias);
    }
  }
};

// One warp's queries of one image.
template <class Plan>
GPU_FUNCTION void attend_two_rows(const AttentionParameters& p, const TensorView& output, const BlockTile& tile,
                                  const WarpBias<Plan>& bias, int64_t image, char* stage, int warp, int lane) {
  using T = typename Plan::T;
  WarpAttention<T, Plan::kHeadDim> attention(stage + Plan::kQueriesAt, kWarpQueries * warp, lane, p.scale);
#pragma unroll 1  // unrolled, the compiler would keep the places of all biases in registers, and spill them
  for (int block = 0; block < Plan::kKeyBlocks; block += Plan::kStepBlocks) {
    attention.template attend<Plan::kStepBlocks>(
        stage + Plan::kKeysAt, stage + Plan::kValuesAt, bias.windows.first_key() + 8 * block, block == 0,
        [&](int i, float(&scores)[4]) { bias.of_block(block + i, scores); });
  }
  attention.replace_queries();
  const int column = tile.columns.first + lane / 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = tile.rows.first + 2 * warp + i;
    if (!tile.rows.has_query(row) || !tile.columns.has_query(column)) continue;
    attention.store(i, token_pointer<T>(output, tile.head, tile.rows, tile.columns, row, column) +
                           image * output.batch_stride);
  }
}

template <class Plan>
GPU_FUNCTION void attend_tile(const AttentionParameters& p, const AttentionTensors& tensors, const TileGrid& grid) {
  GPU_DYNAMIC_SHARED(shared);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const BlockTile tile = block_tile(p, grid, blockIdx.x);
  if (!tile.rows.has_query(tile.rows.first) || !tile.columns.has_query(tile.columns.first)) return;  // a shorter group

  auto* table = reinterpret_cast<float*>(shared + Plan::kTableAt);
  load_bias_table(p, tensors.rpb, tile.head, table, Plan::kThreads);
  for (int stage = 0; stage < Plan::kStages; ++stage) clear_behind_halo<Plan>(shared + stage * Plan::kStageBytes);
  const TileLoader<Plan> loader(tensors, tile);
  loader.start(tile.first_image, shared);
  gpu::sync_threads();  // the table is there

  const LaneWindows<Plan> windows(tile, table, warp, lane);
  const WarpBias<Plan> bias(windows);
  const bool has_queries = tile.rows.has_query(tile.rows.first + 2 * warp);
  for (int64_t image = tile.first_image; image < tile.end_image; ++image) {
    char* stage = shared + (image - tile.first_image) % Plan::kStages * Plan::kStageBytes;
    const bool has_next = image + 1 < tile.end_image;
    if (Plan::kStages == 2 && has_next) {
      loader.start(image + 1, shared + (image + 1 - tile.first_image) % Plan::kStages * Plan::kStageBytes);
      gpu::wait_for_copies<1>();
    } else {
      gpu::wait_for_copies<0>();
    }
    gpu::sync_threads();  // all threads' copies of this image have landed
    if (has_queries) attend_two_rows<Plan>(p, tensors.output, tile, bias, image, stage, warp, lane);
    if (has_next) gpu::sync_threads();  // the stage is free again
    if (Plan::kStages == 1 && has_next) loader.start(image + 1, shared);
  }
}

template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads)
    tensor_core_attention(const AttentionParameters p, const AttentionTensors tensors, const TileGrid grid) {
  if constexpr (gpu::kHasTensorCores<typename Plan::T>) attend_tile<Plan>(p, tensors, grid);
}

}  // namespace natdeploy
