#include <algorithm>
#include <limits>

#include "op/kernels/whole_map.cuh"
#include "op/launch_family.h"

namespace natdeploy {
namespace {

// The most keys that any tile of any dilation group looks at; groups are as long as the first or one shorter.
int most_keys_of_a_tile(const AttentionParameters& p) {
  int most = 0;
  for (const int row_group : {0, p.dilation.height - 1}) {
    for (const int column_group : {0, p.dilation.width - 1}) {
      const int rows = group_length(p.map.height, row_group, p.dilation.height);
      const int columns = group_length(p.map.width, column_group, p.dilation.width);
      for (int tile = 0; kWarpQueries * tile < rows * columns; ++tile) {
        most = std::max(most, keys_of_tile(rows, columns, p.kernel_size.height, tile).count);
      }
    }
  }
  return most;
}

// A block keeps its map for several images, since bias and masks stay the same; yet all SMs should have work.
int64_t images_per_block(const AttentionParameters& p, int64_t groups, int blocks_per_multiprocessor) {
  constexpr int64_t kMaxImages = 8;
  return std::clamp<int64_t>(groups * p.batch / (blocks_per_multiprocessor * gpu::multiprocessor_count()), 1, kMaxImages);
}

template <class Plan>
Status run(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  const int64_t groups = static_cast<int64_t>(p.dilation.height) * p.dilation.width * p.heads;
  MapGrid grid = map_grid(p);
  grid.images_per_block = images_per_block(p, groups, Plan::kBlocksPerMultiprocessor);
  const int64_t blocks = groups * ((p.batch + grid.images_per_block - 1) / grid.images_per_block);
  if (blocks > std::numeric_limits<int32_t>::max()) return {"more maps than a grid can have"};
  return {gpu::launch<whole_map_attention<Plan>>("whole_map_attention", dim3(static_cast<unsigned>(blocks)),
                                                 Plan::kThreads, grid.shared_bytes, stream, p, tensors, grid)};
}

template <class T, int kHeadDim>
Status run_for_size(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  constexpr int kSmallWarps = 4, kLargeWarps = 13;  // as many tiles: 7x7 and 8x8 tokens, 14x14 tokens
  const int64_t tokens = longest_group(p);
  if (tokens <= kSmallWarps * kWarpQueries) return run<MapPlan<T, kHeadDim, kSmallWarps, Kept::kBiases>>(p, tensors, stream);
  if constexpr (kHeadDim == 32) {  // registers of 13 warps
    if (tokens <= kLargeWarps * kWarpQueries && most_keys_of_a_tile(p) <= kMostKeptKeys) {
      return run<MapPlan<T, kHeadDim, kLargeWarps, Kept::kMasks>>(p, tensors, stream);
    }
  }
  return run<MapPlan<T, kHeadDim, 6, Kept::kNothing>>(p, tensors, stream);
}

template <class T>
Status run_for_type(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  if (p.head_dim == 32) return run_for_size<T, 32>(p, tensors, stream);
  if (p.head_dim == 64) return run_for_size<T, 64>(p, tensors, stream);
  return {"no whole-map kernel of this head_dim"};
}

}  // namespace

Status launch_whole_map(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  if (!tokens_are_aligned(p, tensors)) return {"the whole-map kernel needs tokens at multiples of 16 bytes"};
  switch (p.dtype) {
    case DataType::kFloat16: return run_for_type<__half>(p, tensors, stream);
    case DataType::kBFloat16: return run_for_type<__nv_bfloat16>(p, tensors, stream);
    case DataType::kFloat32: break;
  }
  return {"no whole-map kernel of this data type"};
}

}  // namespace natdeploy
