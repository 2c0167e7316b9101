// Global to shared memory for the whole-map kernel: queries, keys and values of one dilation group, by cp.async.
//
// As many neighbouring threads share a token as it has chunks of 16 bytes.
#pragma once

#include "op/kernels/map_plan.cuh"

namespace natdeploy {

// Where the parts of one stage begin.
struct MapStage {
  char *queries, *keys, *values;
};

template <int kHeadDim>
GPU_FUNCTION MapStage map_stage(char* stage, const MapGrid& grid) {
  char* const keys = stage + grid.query_tokens * kHeadDim * 2;
  return {stage, keys, keys + grid.key_tokens * kHeadDim * 2};
}

template <class Plan>
class MapLoader {
  using T = typename Plan::T;
  static constexpr int kChunks = Plan::kHeadDim / kChunkElements, kTokensPerPass = Plan::kThreads / kChunks;

 public:
  GPU_FUNCTION MapLoader(const AttentionTensors& tensors, const BlockMap& map)
      : tensors_(tensors),
        map_(map) {}

  // Begins to copy one image's group; the copies form one group.
  GPU_FUNCTION void start(int64_t image, const MapStage& stage) const {
#pragma unroll 1  // unrolled, the addresses would take the registers of the attention
    for (int token = static_cast<int>(threadIdx.x) / kChunks; token < map_.tokens; token += kTokensPerPass) {
      const int row = map_.row(token), column = map_.column(token);
      copy(tensors_.query, image, row, column, stage.queries, token);
      copy(tensors_.key, image, row, column, stage.keys, token);
      copy(tensors_.value, image, row, column, stage.values, token);
    }
    gpu::commit_copies();
  }

 private:
  GPU_FUNCTION void copy(const TensorView& view, int64_t image, int row, int column, char* shared, int token) const {
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const T* const source = token_pointer<const T>(view, map_.head, map_.rows, map_.columns, row, column) +
                            image * view.batch_stride + chunk * kChunkElements;
    gpu::copy_async(chunk_address<Plan::kHeadDim>(shared, token, chunk), source, true);
  }

  const AttentionTensors& tensors_;
  const BlockMap& map_;
};

// Keys and values behind the map, which whole steps reach. Queries behind it may be anything: nobody stores their rows.
template <class Plan>
GPU_FUNCTION void clear_behind_map(const BlockMap& map, const MapGrid& grid, const MapStage& stage) {
  clear_tokens<Plan::kHeadDim>(stage.keys, map.tokens, grid.key_tokens, Plan::kThreads);
  clear_tokens<Plan::kHeadDim>(stage.values, map.tokens, grid.key_tokens, Plan::kThreads);
}

}  // namespace natdeploy
