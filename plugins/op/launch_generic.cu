#include <algorithm>
#include <limits>

#include "op/kernels/generic.cuh"
#include "op/launch_family.h"

namespace natdeploy {
namespace {

template <class Plan>
Status run(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  const int64_t tokens = static_cast<int64_t>(p.map.height) * p.map.width;
  const int64_t blocks = (tokens + Plan::kQueries - 1) / Plan::kQueries * p.heads * p.batch;
  const int64_t limit = std::numeric_limits<int32_t>::max();  // of grid.x
  const auto grid = dim3(static_cast<unsigned>(std::min(blocks, limit)));
  return {gpu::launch<generic_attention<Plan>>("generic_attention", grid, Plan::kThreads, 0, stream, p, tensors)};
}

// Few lanes per query: few shuffles per key, and most queries under way.
template <class T>
Status run_for_type(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  constexpr int kWide = 16 / sizeof(T);
  if (p.head_dim % kWide != 0 || !tokens_are_aligned(p, tensors)) {
    if (p.head_dim <= 32) return run<GenericPlan<T, 1, 32, 1>>(p, tensors, stream);
    return run<GenericPlan<T, 1, 32, 8>>(p, tensors, stream);
  }
  const int vectors = p.head_dim / kWide;
  if (vectors <= 4) return run<GenericPlan<T, kWide, 4, 1>>(p, tensors, stream);
  if (vectors <= 8) return run<GenericPlan<T, kWide, 8, 1>>(p, tensors, stream);
  if (vectors <= 16) return run<GenericPlan<T, kWide, 16, 1>>(p, tensors, stream);
  return run<GenericPlan<T, kWide, 32, kGenericMaxHeadDim / (32 * kWide)>>(p, tensors, stream);
}

}  // namespace

Status launch_generic(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream) {
  switch (p.dtype) {
    case DataType::kFloat32: return run_for_type<float>(p, tensors, stream);
    case DataType::kFloat16: return run_for_type<__half>(p, tensors, stream);
    case DataType::kBFloat16: return run_for_type<__nv_bfloat16>(p, tensors, stream);
  }
  return {"unknown data type"};
}

}  // namespace natdeploy
