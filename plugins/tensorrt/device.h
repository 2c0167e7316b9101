// What the plugin asks CUDA.
#pragma once

namespace natdeploy::trt {

// Of the current device, 80 for 8.0; 0 where there is none. Asks for attributes only: allowed under stream capture.
int current_compute_capability() noexcept;

}  // namespace natdeploy::trt
