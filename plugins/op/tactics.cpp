#include <cstddef>
#include <cstdint>

#include "op/launch_family.h"
#include "op/map_grid.h"

namespace natdeploy {
namespace {

constexpr int kOldestGpu = 75;
constexpr int kMaxHeadDim = 256;

const char* reason_against_any(const AttentionParameters& p, int compute_capability) {
  if (!problems(p).empty()) return "the parameters break the operator's contract (natdeploy::problems says how)";
  if (p.dtype != DataType::kFloat32 && p.dtype != DataType::kFloat16 && p.dtype != DataType::kBFloat16) {
    return "unknown data type";
  }
  if (p.head_dim > kMaxHeadDim) return "head_dim is larger than 256";
  if (compute_capability < kOldestGpu) return "no GPU of compute capability 7.5 or newer";
  return nullptr;
}

// What a block may have: 64 KB on sm_75 (CUDA C++ Programming Guide, table of compute capabilities).
size_t shared_bytes_of(int compute_capability) { return compute_capability < 80 ? 64 << 10 : kMaxSharedBytes; }

// What the tensor-core and the whole-map kernels have in common.
const char* reason_against_mma(const AttentionParameters& p, int compute_capability) {
  if (p.dtype == DataType::kFloat32) return "tensor-core kernels are for float16 and bfloat16";
  if (p.dtype == DataType::kBFloat16 && compute_capability < 80) return "tensor cores know bfloat16 since 8.0";
  if (p.head_dim != 32 && p.head_dim != 64) return "tensor-core kernels exist for head_dim 32 and 64";
  // The bias is divided by the scale, and the largest score must stay the largest.
  if (!(p.scale >= 1e-6F && p.scale <= 1e6F)) return "tensor-core kernels need a scale between 1e-6 and 1e6";
  return nullptr;
}

const char* reason_against_tensor_core(const AttentionParameters& p, int compute_capability) {
  if (const char* reason = reason_against_mma(p, compute_capability)) return reason;
  const int kernel = p.kernel_size.height;
  if (kernel != p.kernel_size.width || kernel % 2 == 0 || kernel < 3 || kernel > 13) {
    return "tensor-core kernels exist for square windows of 3, 5, 7, 9, 11 and 13";
  }
  const size_t shared_bytes = tensor_core_shared_bytes(p);
  if (shared_bytes == 0) return "a tile with window 13 and head_dim 64 does not fit shared memory";
  if (shared_bytes > shared_bytes_of(compute_capability)) return "a tile does not fit the shared memory of this GPU";
  return nullptr;
}

const char* reason_against_whole_map(const AttentionParameters& p, int compute_capability) {
  if (const char* reason = reason_against_mma(p, compute_capability)) return reason;
  const MapGrid grid = map_grid(p);
  if (grid.stages == 0) return "a dilation group of this map does not fit shared memory";
  if (static_cast<size_t>(grid.shared_bytes) > shared_bytes_of(compute_capability)) {
    return "a dilation group of this map does not fit the shared memory of this GPU";
  }
  return nullptr;
}

// Up to 14x14 tokens the whole map is at an advantage: no halo is read twice. Above, tiles have fewer keys to mask.
bool prefers_whole_map(const AttentionParameters& p, int compute_capability) {
  constexpr int64_t kSmall = 208;
  if (reason_against_whole_map(p, compute_capability) != nullptr) return false;
  return longest_group(p) <= kSmall || reason_against_tensor_core(p, compute_capability) != nullptr;
}

bool is_aligned(const TensorView& view, int64_t elements) {
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.batch_stride % elements == 0 &&
         view.row_stride % elements == 0 && view.column_stride % elements == 0 && view.head_stride % elements == 0;
}

}  // namespace

bool tokens_are_aligned(const AttentionParameters& p, const AttentionTensors& tensors) {
  const int elements = elements_per_load(p.dtype);
  return is_aligned(tensors.query, elements) && is_aligned(tensors.key, elements) &&
         is_aligned(tensors.value, elements) && is_aligned(tensors.output, elements);
}

const char* reason_against(Tactic tactic, const AttentionParameters& p, int compute_capability) {
  if (const char* reason = reason_against_any(p, compute_capability)) return reason;
  switch (tactic) {
    case Tactic::kGeneric: return nullptr;
    case Tactic::kTensorCore: return reason_against_tensor_core(p, compute_capability);
    case Tactic::kWholeMap: return reason_against_whole_map(p, compute_capability);
  }
  return "unknown tactic";
}

Tactic preferred_tactic(const AttentionParameters& p, int compute_capability) {
  if (reason_against_any(p, compute_capability) != nullptr) return Tactic::kGeneric;
  if (prefers_whole_map(p, compute_capability)) return Tactic::kWholeMap;
  if (reason_against_tensor_core(p, compute_capability) == nullptr) return Tactic::kTensorCore;
  return Tactic::kGeneric;
}

size_t workspace_size(const AttentionParameters&, Tactic) { return 0; }

}  // namespace natdeploy
