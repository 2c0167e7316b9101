// The C interface: translates between its structs and natdeploy's, and lets no exception out.
#include "natdeploy/op.h"

#include <iterator>

#include "op/gpu.cuh"
#include "op/launch.h"

namespace natdeploy {
namespace {

constexpr const char* kException = "out of memory on the host";

constexpr uint64_t kFirstSize = 64;      // what programs of version 1 know at least
constexpr uint64_t kLargestSize = 4096;  // more is no size: nothing behind the struct must be read
static_assert(sizeof(natdeploy_attention) == kFirstSize, "read a new field only where `size` says that it is there");

// Programs compiled with a newer header may send a longer struct, where all that we do not know is 0.
const char* reason_against_struct(const natdeploy_attention* a) {
  if (a == nullptr) return "attention is NULL";
  if (a->size < kFirstSize || a->size > kLargestSize) return "attention->size is not sizeof(natdeploy_attention)";
  const auto* bytes = reinterpret_cast<const unsigned char*>(a);
  for (uint64_t i = sizeof(natdeploy_attention); i < a->size; ++i) {
    if (bytes[i] != 0) return "attention has a field set that this library, older than the header, does not know";
  }
  return a->reserved == 0 ? nullptr : "attention->reserved is not 0";
}

AttentionParameters parameters_of(const natdeploy_attention& a) {
  return {.dtype = static_cast<DataType>(a.dtype),
          .batch = a.batch,
          .map = {a.height, a.width},
          .heads = a.heads,
          .head_dim = a.head_dim,
          .kernel_size = {a.kernel_height, a.kernel_width},
          .dilation = {a.dilation_height, a.dilation_width},
          .stride = {1, 1},
          .is_causal = {0, 0},
          .scale = a.scale,
          .has_rpb = a.has_rpb != 0};
}

TensorView view_of(const natdeploy_tensor& t) {
  return {.data = t.data,
          .batch_stride = t.batch_stride,
          .row_stride = t.row_stride,
          .column_stride = t.column_stride,
          .head_stride = t.head_stride};
}

const char* name_of(Tactic tactic) {
  switch (tactic) {
    case Tactic::kGeneric: return "generic";
    case Tactic::kTensorCore: return "tensor_core";
    case Tactic::kWholeMap: return "whole_map";
  }
  return nullptr;
}

// What `compute` returns for the translated parameters; `otherwise` where there are none.
template <class Result, class Compute>
Result translated(const natdeploy_attention* attention, Result otherwise, Compute compute) noexcept {
  if (reason_against_struct(attention) != nullptr) return otherwise;
  try {
    return compute(parameters_of(*attention));
  } catch (...) {
    return otherwise;
  }
}

// The reason that `compute` returns, or the one against computing it at all.
template <class Compute>
const char* refused_or(const natdeploy_attention* attention, Compute compute) noexcept {
  const char* reason = reason_against_struct(attention);
  return reason != nullptr ? reason : translated(attention, kException, compute);
}

}  // namespace
}  // namespace natdeploy

using namespace natdeploy;

int32_t natdeploy_op_abi_version(void) { return NATDEPLOY_OP_ABI_VERSION; }

int32_t natdeploy_op_kernel_version(void) { return kKernelVersion; }

int32_t natdeploy_op_compute_capability(void) { return gpu::compute_capability(); }

int32_t natdeploy_op_tactic_id(int32_t position) {
  const bool exists = position >= 0 && position < static_cast<int32_t>(std::size(kAllTactics));
  return exists ? static_cast<int32_t>(kAllTactics[position]) : 0;
}

const char* natdeploy_op_tactic_name(int32_t position) {
  return name_of(static_cast<Tactic>(natdeploy_op_tactic_id(position)));
}

const char* natdeploy_op_reason_against(int32_t tactic, const natdeploy_attention* attention,
                                        int32_t compute_capability) {
  return refused_or(attention, [&](const AttentionParameters& p) {
    return reason_against(static_cast<Tactic>(tactic), p, compute_capability);
  });
}

int32_t natdeploy_op_preferred_tactic(const natdeploy_attention* attention, int32_t compute_capability) {
  constexpr auto kFallback = static_cast<int32_t>(Tactic::kGeneric);
  return translated(attention, kFallback, [&](const AttentionParameters& p) {
    return static_cast<int32_t>(preferred_tactic(p, compute_capability));
  });
}

size_t natdeploy_op_workspace_size(const natdeploy_attention* attention, int32_t tactic) {
  return translated(attention, size_t{0}, [&](const AttentionParameters& p) {
    return problems(p).empty() ? workspace_size(p, static_cast<Tactic>(tactic)) : 0;
  });
}

// No kernel needs workspace so far; the argument is there so that one may, without another interface.
const char* natdeploy_op_launch_packed(const natdeploy_attention* attention, int32_t tactic, const void* qkv,
                                       const float* rpb, void* output, void*, void* stream) {
  return refused_or(attention, [&](const AttentionParameters& p) -> const char* {
    if (p.batch != 0 && (qkv == nullptr || output == nullptr)) return "qkv or output is NULL";
    const AttentionTensors tensors = packed_tensors(p, qkv, rpb, output);
    return launch(p, tensors, static_cast<Tactic>(tactic), static_cast<CUstream_st*>(stream)).reason;
  });
}

const char* natdeploy_op_launch(const natdeploy_attention* attention, int32_t tactic, const natdeploy_tensor* query,
                                const natdeploy_tensor* key, const natdeploy_tensor* value, const float* rpb,
                                const natdeploy_tensor* output, void*, void* stream) {
  if (query == nullptr || key == nullptr || value == nullptr || output == nullptr) return "a tensor is NULL";
  return refused_or(attention, [&](const AttentionParameters& p) -> const char* {
    const AttentionTensors tensors = {.query = view_of(*query),
                                      .key = view_of(*key),
                                      .value = view_of(*value),
                                      .output = view_of(*output),
                                      .rpb = rpb};
    for (const TensorView* view : {&tensors.query, &tensors.key, &tensors.value, &tensors.output}) {
      if (p.batch != 0 && view->data == nullptr) return "a tensor's data is NULL";
    }
    return launch(p, tensors, static_cast<Tactic>(tactic), static_cast<CUstream_st*>(stream)).reason;
  });
}
