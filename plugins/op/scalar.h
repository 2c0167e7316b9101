// The operator in plain C++: the yardstick of every other implementation in the C++ tests. Float32 tensors.
#pragma once

#include "op/parameters.h"

namespace natdeploy {

// Computes `tensors.output` from float32 tensors; arithmetic is double. `p` must have no problems.
void scalar_attention(const AttentionParameters& p, const AttentionTensors& tensors);

}  // namespace natdeploy
