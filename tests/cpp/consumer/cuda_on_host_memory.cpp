// What the program in docs/cpp.md calls of CUDA's runtime, for kernels that run on this CPU: device memory is the host's.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

extern "C" cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = std::malloc(bytes);
  std::memset(*data, 0xFF, bytes);  // NaN, where nothing is written
  return cudaSuccess;
}

extern "C" cudaError_t cudaFree(void* data) {
  std::free(data);
  return cudaSuccess;
}

extern "C" cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

extern "C" cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = nullptr;
  return cudaSuccess;
}

extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
extern "C" cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
extern "C" const char* cudaGetErrorString(cudaError_t) { return "an error"; }
