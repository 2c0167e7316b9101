#include "tensorrt/device.h"

#include <cuda_runtime_api.h>

namespace natdeploy::trt {

int current_compute_capability() noexcept {
  int device = 0;
  int major = 0;
  int minor = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess) {
    (void)cudaGetLastError();  // it would be taken for the next launch's
    return 0;
  }
  return 10 * major + minor;
}

}  // namespace natdeploy::trt
