// The functions of op/gpu.cuh on a CPU: same names, same meaning; what would be undefined on a GPU ends the process with
// a report of thread and line. One thread of the operating system runs everything.
#pragma once

#include "emulation/cuda_words.h"

#include <cmath>
#include <cstring>

#include "emulation/collectives.h"
#include "emulation/matrix.h"
#include "emulation/memory.h"
#include "emulation/run_kernel_body.h"

#define GPU_FUNCTION inline
#define GPU_AND_HOST_FUNCTION inline
#define GPU_DYNAMIC_SHARED(name) char* const name = ::emulation::block.shared

struct CUstream_st;

namespace natdeploy::gpu {

using emulation::Where;

template <class T>
inline constexpr bool kHasTensorCores = true;

inline void sync_threads(Where where = Where::current()) { emulation::wait_at_barrier(where); }
inline void sync_warp(Where where = Where::current()) { emulation::wait_for_warp(where); }

inline float shuffle_xor(float value, unsigned lane_mask, Where where = Where::current()) {
  return emulation::shuffle_xor(value, lane_mask, where);
}

inline float exp2(float x) { return std::exp2(x); }
inline float reciprocal(float x) { return 1.0F / x; }

inline unsigned pack(float low, float high, __half) {
  const __half2 both = __floats2half2_rn(low, high);
  unsigned bits;
  memcpy(&bits, &both, sizeof bits);
  return bits;
}

inline unsigned pack(float low, float high, __nv_bfloat16) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  unsigned bits;
  memcpy(&bits, &both, sizeof bits);
  return bits;
}

inline void load_matrices(unsigned (&registers)[4], const void* row_address, Where where = Where::current()) {
  emulation::load_matrices<false>(registers, row_address, where);
}

inline void load_matrices_transposed(unsigned (&registers)[4], const void* row_address,
                                     Where where = Where::current()) {
  emulation::load_matrices<true>(registers, row_address, where);
}

template <class T>
inline void multiply_accumulate(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, const float (&c)[4],
                                T, Where where = Where::current()) {
  emulation::multiply_accumulate<T>(d, a, b0, b1, c, where);
}

inline void copy_async(void* shared, const void* global, bool full) { emulation::start_copy(shared, global, full); }
inline void commit_copies() { emulation::commit_copies(); }

template <int kPending>
inline void wait_for_copies() {
  emulation::wait_for_copies(kPending);
}

inline int compute_capability() { return 90; }
inline int multiprocessor_count() { return 1; }  // so that kernels have few blocks for much work, and use them again

template <auto kKernel, class... Arguments>
const char* launch(const char* name, dim3 grid, unsigned threads, size_t shared_bytes, CUstream_st*,
                   const Arguments&... arguments) {
  emulation::run_kernel_body(name, grid, dim3(threads), shared_bytes, [&] { kKernel(arguments...); });
  return nullptr;
}

}  // namespace natdeploy::gpu
