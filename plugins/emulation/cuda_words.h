// CUDA's words for a host compiler, so that g++ reads a kernel as nvcc does. Include it before anything of CUDA.
#pragma once

#if defined(__CUDACC__)
#error "for host compilers: nvcc knows these words"
#endif

#define __device__
#define __host__
#define __global__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __forceinline__
#define __forceinline__ inline
#undef __align__
#define __align__(bytes) alignas(bytes)

#define threadIdx (::emulation::current->thread)
#define blockIdx (::emulation::block.index)
#define blockDim (::emulation::block.threads)
#define gridDim (::emulation::block.grid)
