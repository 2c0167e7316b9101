// Launches the whole-map kernel for maps of several sizes on a CUDA runtime that computes nothing, and prints for every
// launch: the kernel, how much shared memory it may have by then, and how much it is launched with.
#include <cuda_runtime_api.h>

#include <cstdio>

#include "op/launch_family.h"

namespace {

int limit = 0;
const void* kernel = nullptr;
constexpr int kMostOfH100 = 227 << 10;

}  // namespace

extern "C" {

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? kMostOfH100 : 9;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int bytes) {
  kernel = function;
  limit = bytes;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "an error"; }

// What nvcc's code for the host calls, in CUDA 12 and 13.
void** __cudaRegisterFatBinary(void*) { return nullptr; }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 0; }
void __cudaRegisterFunction() {}
int __cudaGetKernel() { return 0; }
int __cudaLaunchKernel() { return 0; }
int __cudaPopCallConfiguration() { return 0; }
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t bytes, void*) {
  std::printf("%p %d %zu\n", kernel, limit, bytes);
  return 1;  // no kernel, then
}

}  // extern "C"

int main() {
  for (const int width : {14, 16, 18, 20, 14}) {
    natdeploy::AttentionParameters p = {};
    p.dtype = natdeploy::DataType::kFloat16;
    p.batch = 1;
    p.map = {12, width};
    p.heads = 2;
    p.head_dim = 64;
    p.kernel_size = {3, 3};
    p.dilation = p.stride = {1, 1};
    p.scale = 1;
    if (!natdeploy::launch_whole_map(p, {}, nullptr).ok()) return 1;
  }
}
