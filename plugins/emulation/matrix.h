// ldmatrix and mma.m16n8k16. Where each lane's values sit follows the PTX ISA (and was compared with CuTe's traits):
// lane = 4 * group + pair; a register holds two 16-bit values.
//
//   A 16x16 (row, column)                       B 16x8 (row, column)         C, D 16x8 (row, column)
//   a0 a1: group,     2*pair + {0, 1}           b0 b1: 2*pair + {0, 1}, group      c0 c1: group,     2*pair + {0, 1}
//   a2 a3: group + 8, 2*pair + {0, 1}           b2 b3: 2*pair + {8, 9}, group      c2 c3: group + 8, 2*pair + {0, 1}
//   a4..a7: as a0..a3, 8 columns further
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "emulation/collectives.h"
#include "emulation/memory.h"

namespace emulation {

EMULATION_INTERNAL inline float widened(uint16_t bits, __half) {
  __half_raw raw;
  raw.x = bits;
  return __half2float(__half(raw));
}

EMULATION_INTERNAL inline float widened(uint16_t bits, __nv_bfloat16) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}

// All 65536 values of a type: converting one by one would take most of the time of an mma.
template <class T>
EMULATION_INTERNAL const float* widened_table() {
  static float table[65536];
  static const bool filled = [] {
    for (unsigned bits = 0; bits < 65536; ++bits) table[bits] = widened(static_cast<uint16_t>(bits), T());
    return true;
  }();
  return filled ? table : nullptr;
}

struct MmaOperand {
  uint16_t a[8];
  uint16_t b[4];
  float c[4];
};

struct MmaResult {
  float d[4];
};

template <class T>
EMULATION_INTERNAL void multiply_for_warp(Fiber* fibers, unsigned lanes) {
  if (lanes != kAllLanes) report_fault("mma needs all 32 lanes");
  const float* table = widened_table<T>();
  float a[16][16], b[16][8], d[16][8];
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const MmaOperand in = operand_of<MmaOperand>(fibers[lane]);
    const unsigned group = lane / 4, pair = lane % 4;
    for (unsigned i = 0; i < 8; ++i) a[group + i / 2 % 2 * 8][2 * pair + i % 2 + i / 4 * 8] = table[in.a[i]];
    for (unsigned i = 0; i < 4; ++i) b[2 * pair + i % 2 + i / 2 * 8][group] = table[in.b[i]];
    for (unsigned i = 0; i < 4; ++i) d[group + i / 2 * 8][2 * pair + i % 2] = in.c[i];
  }
  for (unsigned m = 0; m < 16; ++m) {
    for (unsigned k = 0; k < 16; ++k) {
      for (unsigned n = 0; n < 8; ++n) d[m][n] += a[m][k] * b[k][n];
    }
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    MmaResult out;
    for (unsigned i = 0; i < 4; ++i) out.d[i] = d[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
    give_result(fibers[lane], out);
  }
}

template <class T>
EMULATION_INTERNAL void multiply_accumulate(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                            const float (&c)[4], Where where) {
  MmaOperand operand;
  memcpy(operand.a, a, sizeof operand.a);
  memcpy(operand.b, &b0, sizeof b0);
  memcpy(operand.b + 2, &b1, sizeof b1);
  memcpy(operand.c, c, sizeof operand.c);
  const auto result = collective<MmaOperand, MmaResult>("mma", kAllLanes, operand, false, where, multiply_for_warp<T>);
  memcpy(d, result.d, sizeof result.d);
}

struct MatrixRegisters {
  uint16_t values[4][2];  // of four 8x8 matrices
};

// Lanes 0-7 give the row addresses of the first matrix, 8-15 of the second, and so on.
template <bool kTransposed>
EMULATION_INTERNAL void load_for_warp(Fiber* fibers, unsigned lanes) {
  if (lanes != kAllLanes) report_fault("ldmatrix needs all 32 lanes");
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    uint16_t rows[8][8];
    for (unsigned row = 0; row < 8; ++row) {
      const unsigned lane = matrix * 8 + row;
      const void* address = operand_of<const void*>(fibers[lane]);
      check_shared(address, 16, lane, "ldmatrix");
      report_read(address, 16);
      memcpy(rows[row], address, 16);
    }
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
      const unsigned group = lane / 4, pair = lane % 4;
      for (unsigned i = 0; i < 2; ++i) {
        const uint16_t value = kTransposed ? rows[2 * pair + i][group] : rows[group][2 * pair + i];
        memcpy(fibers[lane].result + 4 * matrix + 2 * i, &value, 2);
      }
    }
  }
}

template <bool kTransposed>
EMULATION_INTERNAL void load_matrices(unsigned (&registers)[4], const void* row_address, Where where) {
  const auto result = collective<const void*, MatrixRegisters>("ldmatrix", kAllLanes, row_address, false, where,
                                                               load_for_warp<kTransposed>);
  memcpy(registers, result.values, sizeof result.values);
}

}  // namespace emulation
