#include <algorithm>
#include <limits>

#include "op/kernels/tensor_core.cuh"
#include "op/launch_family.h"

namespace natdeploy {
namespace {

int ceil_divide(int value, int divisor) { return (value + divisor - 1) / divisor; }

// A block keeps its tile for several images, since bias and mask stay the same; yet all SMs should have work.
TileGrid tile_grid(const AttentionParameters& p) {
  constexpr int64_t kBlocksPerMultiprocessor = 8, kMaxImages = 8;  // two run at a time: four rounds even out the tail
  const int64_t enough = kBlocksPerMultiprocessor * gpu::multiprocessor_count();
  TileGrid grid{ceil_divide(ceil_divide(p.map.height, p.dilation.height), kTileRows),
                ceil_divide(ceil_divide(p.map.width, p.dilation.width), kTileColumns), 1};
  grid.images_per_block = std::clamp<int64_t>(grid.blocks_per_image(p) * p.batch / enough, 1, kMaxImages);
  return grid;
}

template <class Plan>
Status run(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  const TileGrid grid = tile_grid(p);
  const int64_t image_groups = (p.batch + grid.images_per_block - 1) / grid.images_per_block;
  const int64_t blocks = grid.blocks_per_image(p) * image_groups;
  if (blocks > std::numeric_limits<int32_t>::max()) return {"more tiles than a grid can have"};
  return {gpu::launch<tensor_core_attention<Plan>>("tensor_core_attention", dim3(static_cast<unsigned>(blocks)),
                                                   Plan::kThreads, Plan::kSharedBytes, stream, p, tensors, grid)};
}

template <class T, int kHeadDim>
Status run_for_kernel_size(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  switch (p.kernel_size.height) {
    case 3: return run<TilePlan<T, 3, kHeadDim>>(p, tensors, stream);
    case 5: return run<TilePlan<T, 5, kHeadDim>>(p, tensors, stream);
    case 7: return run<TilePlan<T, 7, kHeadDim>>(p, tensors, stream);
    case 9: return run<TilePlan<T, 9, kHeadDim>>(p, tensors, stream);
    case 11: return run<TilePlan<T, 11, kHeadDim>>(p, tensors, stream);
    case 13:
      if constexpr (kHeadDim == 32) return run<TilePlan<T, 13, kHeadDim>>(p, tensors, stream);
  }
  return {"no tensor-core kernel of this window"};
}

template <class T>
Status run_for_type(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  if (p.head_dim == 32) return run_for_kernel_size<T, 32>(p, tensors, stream);
  if (p.head_dim == 64) return run_for_kernel_size<T, 64>(p, tensors, stream);
  return {"no tensor-core kernel of this head_dim"};
}

}  // namespace

Status launch_tensor_core(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  if (!tokens_are_aligned(p, tensors)) return {"the tensor-core kernel needs tokens at multiples of 16 bytes"};
  switch (p.dtype) {
    case DataType::kFloat16: return run_for_type<__half>(p, tensors, stream);
    case DataType::kBFloat16: return run_for_type<__nv_bfloat16>(p, tensors, stream);
    case DataType::kFloat32: break;
  }
  return {"no tensor-core kernel of this data type"};
}

}  // namespace natdeploy
