// The part of CUDA's runtime that the plugin calls by itself, for a library whose kernels run on this CPU.
#include <cuda_runtime_api.h>

#include <cstdlib>

namespace {

int compute_capability() {
  const char* wish = std::getenv("FAKE_COMPUTE_CAPABILITY");
  return wish == nullptr ? 90 : std::atoi(wish);
}

}  // namespace

extern "C" cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? compute_capability() / 10 : compute_capability() % 10;
  return cudaSuccess;
}

extern "C" cudaError_t cudaGetLastError() { return cudaSuccess; }
