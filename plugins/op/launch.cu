#include "op/gpu.cuh"
#include "op/launch_family.h"

namespace natdeploy {

Status launch(const AttentionParameters& p, const AttentionTensors& tensors, Tactic tactic,
              CUstream_st* stream) noexcept {
  try {
    if (const char* reason = reason_against(tactic, p, gpu::compute_capability())) return {reason};
  } catch (...) {  // it puts sentences together
    return {"out of memory on the host"};
  }
  if (p.batch == 0) return {};  // a grid cannot be empty
  if (p.has_rpb && tensors.rpb == nullptr) return {"has_rpb is set, but there is no rpb"};
  switch (tactic) {
    case Tactic::kGeneric: return launch_generic(p, tensors, stream);
    case Tactic::kTensorCore: return launch_tensor_core(p, tensors, stream);
    case Tactic::kWholeMap: return launch_whole_map(p, tensors, stream);
  }
  return {"unknown tactic"};
}

}  // namespace natdeploy
