// The only door to the hardware: kernels call these functions instead of PTX and CUDA's intrinsics. Under nvcc they are
// the instructions; under a host compiler plugins/emulation/ executes them on the CPU, where tests run every kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__CUDACC__)
#include "emulation/gpu.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define GPU_FUNCTION __device__ __forceinline__
#define GPU_AND_HOST_FUNCTION __host__ __device__ __forceinline__
#define GPU_DYNAMIC_SHARED(name) extern __shared__ __align__(128) char name[]

// mma.m16n8k16, bfloat16 and cp.async came with sm_80; below, two mma.m16n8k8 and ordinary copies stand for them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define NATDEPLOY_BEFORE_SM_80 1
#else
#define NATDEPLOY_BEFORE_SM_80 0
#endif

namespace natdeploy::gpu {

// Whether tensor cores take this type. Where not, a kernel that needs them is empty, and launch() refuses it.
template <class T>
inline constexpr bool kHasTensorCores = !NATDEPLOY_BEFORE_SM_80;
template <>
inline constexpr bool kHasTensorCores<__half> = true;

GPU_FUNCTION void sync_threads() { __syncthreads(); }
GPU_FUNCTION void sync_warp() { __syncwarp(); }
GPU_FUNCTION float shuffle_xor(float value, unsigned lane_mask) { return __shfl_xor_sync(~0U, value, lane_mask); }

GPU_FUNCTION float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

GPU_FUNCTION float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two values in one register, the first in the low half.
GPU_FUNCTION unsigned pack(float low, float high, __half) {
  const __half2 both = __floats2half2_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&both);
}

GPU_FUNCTION unsigned pack(float low, float high, __nv_bfloat16) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&both);
}

GPU_FUNCTION unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// ldmatrix: four 8x8 matrices of 16-bit values; lane i gives the address of row i % 8 of matrix i / 8.
GPU_FUNCTION void load_matrices(unsigned (&r)[4], const void* row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row_address))
               : "memory");
}

GPU_FUNCTION void load_matrices_transposed(unsigned (&r)[4], const void* row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row_address))
               : "memory");
}

// mma.m16n8k16: d = a * b + c, float32 accumulation. The last argument chooses the type of a and b.
#if NATDEPLOY_BEFORE_SM_80
GPU_FUNCTION void multiply_accumulate_8(float (&d)[4], unsigned a0, unsigned a1, unsigned b, const float (&c)[4]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
               : "r"(a0), "r"(a1), "r"(b), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// The first two registers of a, and the first of b, are columns and rows 0 to 7 of 16 (PTX ISA, fragments of m16n8k16).
GPU_FUNCTION void multiply_accumulate(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                      const float (&c)[4], __half) {
  float half[4];
  multiply_accumulate_8(half, a[0], a[1], b0, c);
  multiply_accumulate_8(d, a[2], a[3], b1, half);
}
#else
#define NATDEPLOY_MMA(TYPE)                                                                                   \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE                                         \
               ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                               \
               : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                               \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), \
                 "f"(c[3]))

GPU_FUNCTION void multiply_accumulate(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                      const float (&c)[4], __half) {
  NATDEPLOY_MMA("f16");
}

GPU_FUNCTION void multiply_accumulate(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                      const float (&c)[4], __nv_bfloat16) {
  NATDEPLOY_MMA("bf16");
}
#undef NATDEPLOY_MMA
#endif

// cp.async: 16 bytes from global to shared memory, complete after wait_for_copies and a barrier. Without `full`, the
// source is not read and zeros land.
GPU_FUNCTION void copy_async(void* shared, const void* global, bool full) {
#if NATDEPLOY_BEFORE_SM_80
  *static_cast<uint4*>(shared) = full ? *static_cast<const uint4*>(global) : uint4{};
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(shared)), "l"(global), "r"(full ? 16 : 0)
               : "memory");
#endif
}

GPU_FUNCTION void commit_copies() {
#if !NATDEPLOY_BEFORE_SM_80
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kPending committed groups are under way.
template <int kPending>
GPU_FUNCTION void wait_for_copies() {
#if !NATDEPLOY_BEFORE_SM_80
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// 80 for 8.0; 0 where there is no device.
inline int compute_capability() {
  int device = 0, major = 0, minor = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess) {
    (void)cudaGetLastError();  // it would be taken for the next launch's
    return 0;
  }
  return 10 * major + minor;
}

inline int multiprocessor_count() {
  int device = 0, count = 1;
  if (cudaGetDevice(&device) == cudaSuccess) cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

// What a block of this device may have where its kernel asks for it; 0 where there is no device.
inline int most_shared_bytes() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) {
    return 0;
  }
  return bytes;
}

// Puts a kernel on the stream; gives null, or what CUDA says against it. `name` is for the emulation's reports.
template <auto kKernel, class... Arguments>
const char* launch(const char*, dim3 grid, unsigned threads, size_t shared_bytes, cudaStream_t stream,
                   const Arguments&... arguments) {
  constexpr size_t kSharedWithoutAsking = 48 << 10;
  if (shared_bytes > kSharedWithoutAsking) {
    // Not as many as this launch needs: the limit is the kernel's, and another thread may be launching it with more.
    const auto asked = cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_shared_bytes());
    if (asked != cudaSuccess) {
      (void)cudaGetLastError();  // it would be taken for the next launch's
      return cudaGetErrorString(asked);
    }
  }
  kKernel<<<grid, threads, shared_bytes, stream>>>(arguments...);
  const auto launched = cudaGetLastError();
  return launched == cudaSuccess ? nullptr : cudaGetErrorString(launched);
}

}  // namespace natdeploy::gpu
#endif  // __CUDACC__
