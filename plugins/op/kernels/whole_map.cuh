// The whole-map kernel: small maps and dilation groups, all of whose keys lie in shared memory (map_plan.cuh).
#pragma once

#include "op/kernels/map_loader.cuh"

namespace natdeploy {

// Every key's place in the map and in the bias table, in shared memory. Keys behind the map have rows behind it, which
// no window reaches.
struct KeyPlaces {
  short2* place;  // row and column
  int* entry;     // of the bias table, up to what the query adds

  GPU_FUNCTION void fill(const BlockMap& map, int key_tokens, int threads) const {
    for (int key = static_cast<int>(threadIdx.x); key < key_tokens; key += threads) {
      const int row = map.row(key), column = map.column(key);
      place[key] = make_short2(static_cast<short>(row), static_cast<short>(column));
      entry[key] = row * (2 * map.kernel_columns - 1) + column;
    }
  }
};

// The windows of this lane's two queries of a tile: lane / 4 and lane / 4 + 8.
struct QueryWindows {
  int row[2], column[2];              // of the queries
  int first_row[2], first_column[2];  // of the windows
  int entry[2];                       // + the key's: place in the bias table
  int kernel_rows, kernel_columns;

  GPU_FUNCTION QueryWindows(const BlockMap& map, int tile, int lane)
      : kernel_rows(map.kernel_rows), kernel_columns(map.kernel_columns) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = at_most(kWarpQueries * tile + lane / 4 + 8 * i, map.tokens - 1);
      row[i] = map.row(query);
      column[i] = map.column(query);
      first_row[i] = window_start(row[i], map.rows.length, kernel_rows);
      first_column[i] = window_start(column[i], map.columns.length, kernel_columns);
      entry[i] = (kernel_rows - 1 - row[i]) * (2 * kernel_columns - 1) + kernel_columns - 1 - column[i];
    }
  }

  GPU_FUNCTION bool hold(int i, short2 key) const {
    const auto rows = static_cast<unsigned>(key.x - first_row[i]), columns = static_cast<unsigned>(key.y - first_column[i]);
    return rows < static_cast<unsigned>(kernel_rows) && columns < static_cast<unsigned>(kernel_columns);
  }
};

// One warp's tile of queries, the same for all images of the block.
template <class Plan>
class MapTile {
  using T = typename Plan::T;
  static constexpr int kBlocks = Plan::kStepKeys / 8;

 public:
  GPU_FUNCTION MapTile(const BlockMap& map, const MapGrid& grid, const KeyPlaces& keys, const float* table, int tile,
                       int lane)
      : map_(map),
        keys_(keys),
        table_(table),
        tile_(tile),
        lane_(lane),
        steps_(steps_of_tile<Plan>(map, tile, grid.key_tokens)),
        windows_(map, tile, lane) {
#pragma unroll
    for (int block = 0; block < kBlocks * Plan::kSteps; ++block) {
      const unsigned inside = mask_of_block(block);
      if constexpr (Plan::kKept == Kept::kBiases) find_biases(block, inside, biases_[block]);
      if constexpr (Plan::kKept == Kept::kMasks) masks_[block / 8] |= inside << block % 8 * 4;
    }
  }

  GPU_FUNCTION void attend(const AttentionParameters& p, const MapStage& stage, const TensorView& output,
                           int64_t image) const {
    WarpAttention<T, Plan::kHeadDim> attention(stage.queries, kWarpQueries * tile_, lane_, p.scale);
    const int steps = Plan::kSteps > 0 ? Plan::kSteps : steps_.count;
#pragma unroll 1  // unrolled, the compiler would keep the places of all biases in registers, and spill them
    for (int step = 0; step < steps; ++step) {
      attention.template attend<kBlocks>(stage.keys, stage.values, steps_.first + Plan::kStepKeys * step, step == 0,
                                         [&](int i, float(&bias)[4]) { give_biases(step, i, bias); });
    }
    attention.replace_queries();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (kWarpQueries * tile_ + lane_ / 4 + 8 * i >= map_.tokens) continue;
      attention.store(i, token_pointer<T>(output, map_.head, map_.rows, map_.columns, windows_.row[i],
                                          windows_.column[i]) + image * output.batch_stride);
    }
  }

 private:
  // This lane's two keys of a block are neighbours.
  GPU_FUNCTION int key_of_block(int block) const { return steps_.first + 8 * block + lane_ % 4 * 2; }

  // Whether the keys are in the windows: bit 2 * query + key, in the order of an mma's result.
  GPU_FUNCTION unsigned mask_of_block(int block) const {
    unsigned mask = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) mask |= windows_.hold(i / 2, keys_.place[key_of_block(block) + i % 2]) ? 1U << i : 0U;
    return mask;
  }

  GPU_FUNCTION void find_biases(int block, unsigned mask, float (&bias)[4]) const {
    const int2 entry = *reinterpret_cast<const int2*>(keys_.entry + key_of_block(block));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bias[i] = (mask >> i & 1) != 0 ? table_[windows_.entry[i / 2] + (i % 2 == 0 ? entry.x : entry.y)] : kOutsideWindow;
    }
  }

  GPU_FUNCTION void give_biases(int step, int i, float (&bias)[4]) const {
    const int block = kBlocks * step + i;
    if constexpr (Plan::kKept == Kept::kBiases) {
#pragma unroll
      for (int j = 0; j < 4; ++j) bias[j] = biases_[i][j];
    } else if constexpr (Plan::kKept == Kept::kMasks) {
      find_biases(block, (block < 8 ? masks_[0] : masks_[1]) >> block % 8 * 4, bias);
    } else {
      find_biases(block, mask_of_block(block), bias);
    }
  }

  const BlockMap& map_;
  const KeyPlaces& keys_;
  const float* table_;
  int tile_, lane_;
  KeySpan steps_;
  QueryWindows windows_;
  float biases_[Plan::kKept == Kept::kBiases ? kBlocks : 1][4];
  unsigned masks_[2] = {};  // four bits per block
};

template <class Plan>
GPU_FUNCTION void attend_map(const AttentionParameters& p, const AttentionTensors& tensors, const MapGrid& grid) {
  GPU_DYNAMIC_SHARED(shared);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const BlockMap map = block_map(p, grid.images_per_block, blockIdx.x);
  const KeyPlaces keys{reinterpret_cast<short2*>(shared + grid.places_at),
                       reinterpret_cast<int*>(shared + grid.entries_at)};
  auto* const table = reinterpret_cast<float*>(shared + grid.table_at);
  const auto stage_of = [&](int64_t image) {
    return map_stage<Plan::kHeadDim>(shared + (image - map.first_image) % grid.stages * grid.stage_bytes, grid);
  };

  const MapLoader<Plan> loader(tensors, map);
  loader.start(map.first_image, stage_of(map.first_image));
  for (int stage = 0; stage < grid.stages; ++stage) clear_behind_map<Plan>(map, grid, stage_of(map.first_image + stage));
  load_bias_table(p, tensors.rpb, map.head, table, Plan::kThreads);
  keys.fill(map, grid.key_tokens, Plan::kThreads);
  gpu::sync_threads();  // the table and the places are there

  const MapTile<Plan> first_tile(map, grid, keys, table, warp, lane);
  for (int64_t image = map.first_image; image < map.end_image; ++image) {
    const bool has_next = image + 1 < map.end_image;
    if (grid.stages == 2 && has_next) {
      loader.start(image + 1, stage_of(image + 1));
      gpu::wait_for_copies<1>();
    } else {
      gpu::wait_for_copies<0>();
    }
    gpu::sync_threads();  // all threads' copies of this image have landed
    const MapStage stage = stage_of(image);
    if (kWarpQueries * warp < map.tokens) first_tile.attend(p, stage, tensors.output, image);
    if constexpr (Plan::kKept == Kept::kNothing) {
      for (int tile = warp + Plan::kWarps; kWarpQueries * tile < map.tokens; tile += Plan::kWarps) {
        MapTile<Plan>(map, grid, keys, table, tile, lane).attend(p, stage, tensors.output, image);
      }
    }
    if (has_next) gpu::sync_threads();  // the stage is free again
    if (grid.stages == 1 && has_next) loader.start(image + 1, stage_of(image + 1));
  }
}

template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads, Plan::kBlocksPerMultiprocessor)
    whole_map_attention(const AttentionParameters p, const AttentionTensors tensors, const MapGrid grid) {
  if constexpr (gpu::kHasTensorCores<typename Plan::T>) attend_map<Plan>(p, tensors, grid);
}

}  // namespace natdeploy
