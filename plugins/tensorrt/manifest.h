// What this library is, readable without TensorRT.
#pragma once

namespace natdeploy::trt {

// JSON: names, versions, attributes, kernel version, tactics, GPU architectures; null when memory runs out.
const char* manifest() noexcept;

}  // namespace natdeploy::trt
