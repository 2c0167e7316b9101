// Where a token lies: in global memory, found by its place in a dilation group, and in shared memory.
#pragma once

#include "op/kernels/window.cuh"
#include "op/parameters.h"

namespace natdeploy {

inline constexpr int kChunkElements = 8;  // of 16 bits: one 16-byte access, one row of an ldmatrix

// Block numbers count heads, tiles, groups and images like the digits of a number.
GPU_FUNCTION int take_digit(int64_t& index, int base) {
  const int digit = static_cast<int>(index % base);
  index /= base;
  return digit;
}

// This head's slice of the token at a row and a column (places) of a dilation group, in image 0.
template <class T>
GPU_FUNCTION T* token_pointer(const TensorView& view, int head, const AxisGroup& rows, const AxisGroup& columns, int row,
                              int column) {
  return static_cast<T*>(const_cast<void*>(view.data)) + head * view.head_stride + rows.token(row) * view.row_stride +
         columns.token(column) * view.column_stride;
}

// Byte address of a chunk of a token in shared memory. The chunks of a token are permuted by its number, so that the
// eight rows of an ldmatrix (eight tokens, one chunk) fall into different banks; the pattern repeats every eight tokens.
template <int kHeadDim>
GPU_FUNCTION char* chunk_address(char* tokens, int token, int chunk) {
  static_assert(kHeadDim == 32 || kHeadDim == 64, "permutations of four and of eight chunks");
  const int phase = kHeadDim == 32 ? token >> 1 & 3 : token & 7;  // 64-byte tokens: two share all 32 banks
  return tokens + token * kHeadDim * 2 + ((chunk ^ phase) * 16);
}

// Fills tokens of shared memory with zeros, all threads together: what no copy writes must not be NaN, because a
// weight of zero times NaN is NaN.
template <int kHeadDim>
GPU_FUNCTION void clear_tokens(char* tokens, int first, int end, int threads) {
  constexpr int kUnits = kHeadDim / kChunkElements;
  for (int i = first * kUnits + static_cast<int>(threadIdx.x); i < end * kUnits; i += threads) {
    reinterpret_cast<uint4*>(tokens)[i] = make_uint4(0, 0, 0, 0);
  }
}

}  // namespace natdeploy
