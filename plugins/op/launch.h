// Running the operator on a GPU: which kernel, with how much workspace, on which stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "op/parameters.h"

struct CUstream_st;  // cudaStream_t points to it: this header needs no CUDA

namespace natdeploy {

// Kernel families. The numbers are TensorRT tactics, stored in plans: never renumber, only add.
enum class Tactic : int32_t {
  kGeneric = 1,     // SIMT, any head_dim, every dtype
  kTensorCore = 2,  // fp16/bf16 query tiles against their halo, mma
  kWholeMap = 3,    // maps and dilation groups that fit shared memory
};

inline constexpr Tactic kAllTactics[] = {Tactic::kGeneric, Tactic::kTensorCore, Tactic::kWholeMap};

// Changes whenever a kernel changes: timing caches and manifests carry it.
inline constexpr int kKernelVersion = 1;

// Result of a launch; must be looked at. `reason` is a static string, null when ok.
struct [[nodiscard]] Status {
  const char* reason = nullptr;
  bool ok() const { return reason == nullptr; }
};

// Why a tactic cannot compute these parameters on a GPU of this compute capability (80 for 8.0); null when it can.
const char* reason_against(Tactic tactic, const AttentionParameters& p, int compute_capability);

// The fastest tactic by our own judgement, where nobody times them.
Tactic preferred_tactic(const AttentionParameters& p, int compute_capability);

// Bytes of workspace; no kernel needs any so far.
size_t workspace_size(const AttentionParameters& p, Tactic tactic);

// Puts the computation on `stream`: no allocation, no synchronisation, safe under CUDA graph capture.
Status launch(const AttentionParameters& p, const AttentionTensors& tensors, Tactic tactic, CUstream_st* stream) noexcept;

}  // namespace natdeploy
