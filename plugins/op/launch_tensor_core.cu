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

// Gives `use(plan)` for the plan of these parameters, and `otherwise` where there is none.
template <class T, int kHeadDim, class Result, class Use>
Result with_window(const AttentionParameters& p, Result otherwise, Use use) {
  switch (p.kernel_size.height) {
    case 3: return use(TilePlan<T, 3, kHeadDim>());
    case 5: return use(TilePlan<T, 5, kHeadDim>());
    case 7: return use(TilePlan<T, 7, kHeadDim>());
    case 9: return use(TilePlan<T, 9, kHeadDim>());
    case 11: return use(TilePlan<T, 11, kHeadDim>());
    case 13:
      if constexpr (kHeadDim == 32) return use(TilePlan<T, 13, kHeadDim>());
  }
  return otherwise;
}

template <class T, class Result, class Use>
Result with_plan(const AttentionParameters& p, Result otherwise, Use use) {
  if (p.head_dim == 32) return with_window<T, 32>(p, otherwise, use);
  if (p.head_dim == 64) return with_window<T, 64>(p, otherwise, use);
  return otherwise;
}

template <class T>
Status run_for_type(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  return with_plan<T>(p, Status{"no tensor-core kernel of this window and head_dim"},
                      [&](auto plan) { return run<decltype(plan)>(p, tensors, stream); });
}

}  // namespace

size_t tensor_core_shared_bytes(const AttentionParameters& p) {
  // The same for both types.
  return with_plan<__half>(p, size_t{0}, [](auto plan) { return size_t{decltype(plan)::kSharedBytes}; });
}

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
