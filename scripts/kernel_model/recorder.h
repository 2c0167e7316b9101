// Read before any source of plugins/op: their launches and their instructions are counted instead of, or besides, run.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <string>
#include <utility>

#include "emulation/gpu.h"

namespace recorder {

// Calls by one thread each; a warp's instruction is 32 of them.
struct Counts {
  int64_t products = 0, matrices = 0, copies = 0, exponentials = 0, shuffles = 0, barriers = 0;
  int64_t copied_bytes = 0;  // by cp.async that reads something
};

struct Launch {
  std::string kernel;  // mangled
  unsigned grid = 0, threads = 0;
  size_t shared_bytes = 0;
};

inline Counts counts;
inline Launch last_launch;
inline bool runs_kernels = false;
inline int multiprocessors = 1;
inline int capability = 90;

// The mangled name, as nvcc gives it to the kernel; the program must be linked with -rdynamic.
template <class Function>
std::string symbol_of(Function* function) {
  Dl_info found;
  const bool known = dladdr(reinterpret_cast<void*>(function), &found) != 0 && found.dli_sname != nullptr;
  return known ? found.dli_sname : "unknown";
}

}  // namespace recorder

namespace natdeploy::gpu {

inline int recorded_compute_capability() { return recorder::capability; }
inline int recorded_multiprocessor_count() { return recorder::multiprocessors; }

template <auto kKernel, class... Arguments>
const char* recorded_launch(const char* name, dim3 grid, unsigned threads, size_t shared_bytes, CUstream_st* stream,
                            const Arguments&... arguments) {
  recorder::last_launch = {recorder::symbol_of(kKernel), grid.x * grid.y * grid.z, threads, shared_bytes};
  return recorder::runs_kernels ? launch<kKernel>(name, grid, threads, shared_bytes, stream, arguments...) : nullptr;
}

#define RECORDED(FUNCTION, COUNTER)                                    \
  template <class... Arguments>                                        \
  decltype(auto) recorded_##FUNCTION(Arguments&&... arguments) {       \
    ++recorder::counts.COUNTER;                                        \
    return FUNCTION(std::forward<Arguments>(arguments)...);            \
  }
RECORDED(multiply_accumulate, products)
RECORDED(load_matrices, matrices)
RECORDED(load_matrices_transposed, matrices)
RECORDED(exp2, exponentials)
RECORDED(shuffle_xor, shuffles)
RECORDED(sync_threads, barriers)
#undef RECORDED

inline void recorded_copy_async(void* shared, const void* global, bool full) {
  ++recorder::counts.copies;
  if (full) recorder::counts.copied_bytes += 16;
  copy_async(shared, global, full);
}

}  // namespace natdeploy::gpu

#define compute_capability recorded_compute_capability
#define multiprocessor_count recorded_multiprocessor_count
#define launch recorded_launch
#define multiply_accumulate recorded_multiply_accumulate
#define load_matrices recorded_load_matrices
#define load_matrices_transposed recorded_load_matrices_transposed
#define exp2 recorded_exp2
#define shuffle_xor recorded_shuffle_xor
#define sync_threads recorded_sync_threads
#define copy_async recorded_copy_async
