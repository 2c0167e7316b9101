// What the lanes of a warp do together: each lane hands in its operand and waits; the last to arrive computes for all.
#pragma once

#include <cstring>

#include "emulation/scheduler.h"

namespace emulation {

EMULATION_INTERNAL inline void check_arrival(const char* operation, unsigned lanes, Where where) {
  const Fiber& self = *current;
  const Warp& warp = block.warps[self.warp];
  if ((lanes >> self.lane & 1) == 0) {
    report_fault("%s at line %u: lanes %08x do not name the caller, %u", operation, where.line(), lanes, self.lane);
  }
  if ((lanes & warp.exited) != 0) {
    report_fault("%s at line %u: lanes %08x have exited", operation, where.line(), lanes & warp.exited);
  }
  if (const unsigned both = warp.waiting & lanes; both != 0) {
    const int other = __builtin_ctz(both);
    const Wait& wait = block.fibers[self.warp * kWarpSize + other].wait;
    if (wait.lanes != lanes || strcmp(wait.operation, operation) != 0 || wait.where.line() != where.line()) {
      report_fault("divergent warp: lane %u in %s (%08x) at line %u, lane %d in %s (%08x) at line %u", self.lane,
                   operation, lanes, where.line(), other, wait.operation, wait.lanes, wait.where.line());
    }
  }
}

EMULATION_INTERNAL inline void wake_lanes(Fiber* warp_fibers, unsigned lanes) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    warp_fibers[lane].wait.operation = nullptr;
    if (&warp_fibers[lane] != current) block.ready.add(&warp_fibers[lane]);
  }
}

// `compute(fibers of the warp, lanes)` reads every lane's `operand` and fills its `result`.
template <class Operand, class Result, class Compute>
EMULATION_INTERNAL Result collective(const char* operation, unsigned lanes, const Operand& operand, bool orders_memory,
                                     Where where, Compute compute) {
  static_assert(sizeof(Operand) <= sizeof(Fiber::operand) && sizeof(Result) <= sizeof(Fiber::result));
  Fiber& self = *current;
  Warp& warp = block.warps[self.warp];
  lanes &= warp.lanes;
  check_arrival(operation, lanes, where);
  memcpy(self.operand, &operand, sizeof operand);
  if (orders_memory) release(&warp.sync_in);
  self.wait = {operation, lanes, where};
  warp.waiting |= 1U << self.lane;
  char* sync_out = &warp.sync_out[warp.generation & 1];
  if ((warp.waiting & lanes) == lanes) {
    Fiber* fibers = &block.fibers[self.warp * kWarpSize];
    compute(fibers, lanes);
    if (orders_memory) {
      acquire(&warp.sync_in);
      release(sync_out);
    }
    warp.waiting &= ~lanes;
    ++warp.generation;
    wake_lanes(fibers, lanes);
    if (!block.newest_first && (random_number() & 1) != 0) {
      block.ready.add(&self);
      yield();
    }
  } else {
    yield();
  }
  if (orders_memory) acquire(sync_out);
  Result result;
  memcpy(&result, self.result, sizeof result);
  return result;
}

template <class T>
EMULATION_INTERNAL T operand_of(const Fiber& fiber) {
  T value;
  memcpy(&value, fiber.operand, sizeof value);
  return value;
}

template <class T>
EMULATION_INTERNAL void give_result(Fiber& fiber, const T& value) {
  memcpy(fiber.result, &value, sizeof value);
}

// __syncwarp
EMULATION_INTERNAL inline void wait_for_warp(Where where) {
  collective<char, char>("__syncwarp", kAllLanes, 0, true, where, [](Fiber*, unsigned) {});
}

// __shfl_xor_sync of all lanes
EMULATION_INTERNAL inline float shuffle_xor(float value, unsigned lane_mask, Where where) {
  return collective<float, float>(
      "__shfl_xor_sync", kAllLanes, value, false, where, [lane_mask](Fiber* fibers, unsigned lanes) EMULATION_INTERNAL {
        for (unsigned lane = 0; lane < kWarpSize; ++lane) {
          if ((lanes >> lane & 1) != 0) give_result(fibers[lane], operand_of<float>(fibers[lane ^ lane_mask]));
        }
      });
}

}  // namespace emulation
