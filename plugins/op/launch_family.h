// One launch function per kernel family, each in a file of its own: they compile for minutes, side by side.
#pragma once

#include <cstddef>

#include "op/launch.h"

namespace natdeploy {

// Elements that one 16-byte load holds.
constexpr int elements_per_load(DataType dtype) { return static_cast<int>(16 / size_of(dtype)); }

// Whether every token of every head begins at a multiple of 16 bytes, in all four tensors.
bool tokens_are_aligned(const AttentionParameters& p, const AttentionTensors& tensors);

// Shared memory of a block of the tensor-core kernel; 0 where there is no such kernel.
size_t tensor_core_shared_bytes(const AttentionParameters& p);

Status launch_generic(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream);
Status launch_tensor_core(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream);
Status launch_whole_map(const AttentionParameters& p, const AttentionTensors& tensors, CUstream_st* stream);

}  // namespace natdeploy
