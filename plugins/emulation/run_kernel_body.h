// Running a kernel: block after block, every thread of a block as a fiber.
#pragma once

#include <type_traits>

#include "emulation/memory.h"
#include "emulation/scheduler.h"

namespace emulation {

EMULATION_INTERNAL inline void prepare_threads() {
  for (Warp& warp : block.warps) warp = Warp{};
  for (unsigned i = 0; i < block.thread_count; ++i) {
    Fiber& fiber = block.fibers[i];
    fiber.lane = i % kWarpSize;
    fiber.warp = i / kWarpSize;
    fiber.thread = {i % block.threads.x, i / block.threads.x % block.threads.y,
                    i / (block.threads.x * block.threads.y)};
    block.warps[fiber.warp].lanes |= 1U << fiber.lane;
    if (fiber.stack.bottom != nullptr) continue;  // kept from an earlier launch
    prepare_stack(fiber.stack, fiber_main);
#if EMULATION_TSAN
    fiber.tsan_fiber = __tsan_create_fiber(0);
#endif
  }
}

EMULATION_INTERNAL inline void run_block(uint3 index) {
  block.index = index;
  block.alive = block.thread_count;
  block.waiting = 0;
  block.ready.size = 0;
  for (Warp& warp : block.warps) warp.exited = warp.waiting = 0;
  for (unsigned i = 0; i < block.thread_count; ++i) {
    Fiber& fiber = block.fibers[i];
    fiber.done = false;
    fiber.wait.operation = nullptr;
    fiber.copy_group = 0;
    block.ready.add(&fiber);
  }
  shuffle_ready_threads();
  block.shared = allocate_shared(block.shared_bytes);
  release(&block.sync_block);
  yield();
  acquire(&block.sync_block);
  free_shared(block.shared);
}

// Runs `body` as every thread of every block.
template <class Body>
EMULATION_INTERNAL void run_kernel_body(const char* name, dim3 grid, dim3 threads, size_t shared_bytes, Body&& body) {
  block.kernel = name;
  block.grid = grid;
  block.threads = threads;
  block.thread_count = threads.x * threads.y * threads.z;
  block.shared_bytes = shared_bytes;
  block.body = [](void* argument) { (*static_cast<std::remove_reference_t<Body>*>(argument))(); };
  block.body_argument = &body;
  block.random_state = seed * 0x9E3779B97F4A7C15ULL + 88172645463325252ULL;
  block.newest_first = (seed & 1) != 0;
  current = &block.main;
  if (block.thread_count == 0 || block.thread_count > kMaxThreads) {
    report_fault("a block cannot have %u threads", block.thread_count);
  }
#if EMULATION_TSAN
  if (block.main.tsan_fiber == nullptr) block.main.tsan_fiber = __tsan_get_current_fiber();
#endif
  prepare_threads();
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) run_block({x, y, z});
    }
  }
}

}  // namespace emulation
