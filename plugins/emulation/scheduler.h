// Who runs next: one fiber per CUDA thread, switched only where a thread waits, in an order that follows from a seed.
#pragma once

#include "emulation/state.h"

namespace emulation {

EMULATION_INTERNAL inline void switch_to(Fiber* next) {
  Fiber* previous = current;
  if (previous == next) return;
  current = next;
#if EMULATION_ASAN
  __sanitizer_start_switch_fiber(&previous->asan_stack, next->stack.bottom, next->stack.bytes);
#endif
#if EMULATION_TSAN
  __tsan_switch_to_fiber(next->tsan_fiber, __tsan_switch_to_fiber_no_sync);
#endif
  switch_stack(previous->stack, next->stack);
#if EMULATION_ASAN
  __sanitizer_finish_switch_fiber(previous->asan_stack, nullptr, nullptr);
#endif
}

inline bool same_wait(const Fiber& a, const Fiber& b) {
  return a.done == b.done && a.wait.operation == b.wait.operation && a.wait.lanes == b.wait.lanes &&
         a.wait.where.line() == b.wait.where.line();
}

EMULATION_INTERNAL inline void print_waiting_threads(const Fiber& first, unsigned count) {
  fprintf(stderr, "  %u threads from (%u,%u,%u): ", count, first.thread.x, first.thread.y, first.thread.z);
  if (first.done) {
    fprintf(stderr, "exited\n");
  } else {
    fprintf(stderr, "wait in %s, lanes %08x, at %s:%u\n", first.wait.operation, first.wait.lanes,
            first.wait.where.file_name(), first.wait.where.line());
  }
}

[[noreturn]] EMULATION_INTERNAL inline void report_deadlock() {
  fprintf(stderr, "\nemulation: no thread can run:\n");
  unsigned begin = 0;
  for (unsigned i = 1; i <= block.thread_count; ++i) {
    if (i < block.thread_count && same_wait(block.fibers[begin], block.fibers[i])) continue;
    print_waiting_threads(block.fibers[begin], i - begin);
    begin = i;
  }
  report_fault("deadlock: a barrier or a collective that not all threads reach");
}

// Lets some ready thread run; comes back when this one is chosen again.
EMULATION_INTERNAL inline void yield() {
  if (block.ready.size == 0) report_deadlock();
  const unsigned chosen = block.newest_first ? block.ready.size - 1 : random_number() % block.ready.size;
  switch_to(block.ready.take(chosen));
}

EMULATION_INTERNAL inline void shuffle_ready_threads() {
  for (unsigned i = block.ready.size; i > 1; --i) block.ready.swap(i - 1, random_number() % i);
}

EMULATION_INTERNAL inline void release_barrier() {
  for (unsigned i = 0; i < block.thread_count; ++i) {
    Fiber& fiber = block.fibers[i];
    if (fiber.done || fiber.wait.operation == nullptr || fiber.wait.lanes != 0) continue;
    fiber.wait.operation = nullptr;
    if (&fiber != current) block.ready.add(&fiber);
  }
  if (block.newest_first) shuffle_ready_threads();
  block.waiting = 0;
  ++block.barrier_phase;
}

// __syncthreads
EMULATION_INTERNAL inline void wait_at_barrier(Where where) {
  Fiber& self = *current;
  char* sync = &block.sync_barrier[block.barrier_phase & 1];
  if (block.waiting == 0) {
    block.first_at_barrier = &self;
  } else if (const Fiber& first = *block.first_at_barrier; first.wait.where.line() != where.line()) {
    report_fault("threads meet at different barriers: this one at line %u, thread (%u,%u,%u) at line %u", where.line(),
                 first.thread.x, first.thread.y, first.thread.z, first.wait.where.line());
  }
  release(sync);
  self.wait = {"__syncthreads", 0, where};
  if (++block.waiting == block.alive) {
    release_barrier();
    if (block.newest_first || (random_number() & 1) != 0) {
      block.ready.add(&self);
      yield();
    }
  } else {
    yield();
  }
  acquire(sync);
}

// A thread's last act: nobody may still count on it.
EMULATION_INTERNAL inline void leave_block() {
  Fiber& self = *current;
  Warp& warp = block.warps[self.warp];
  if (!self.copies.empty()) report_fault("the thread exits with cp.async still in flight");
  release(&block.sync_block);
  self.done = true;
  warp.exited |= 1U << self.lane;
  --block.alive;
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if ((warp.waiting >> lane & 1) == 0) continue;
    const Wait& wait = block.fibers[self.warp * kWarpSize + lane].wait;
    if ((wait.lanes >> self.lane & 1) != 0) {
      report_fault("lane %u exits while lane %u waits for it in %s at line %u", self.lane, lane, wait.operation,
                   wait.where.line());
    }
  }
  if (block.waiting != 0 && block.waiting == block.alive) release_barrier();  // exited threads count as arrived
}

// Every fiber runs this for ever: one turn of the loop is one CUDA thread.
EMULATION_INTERNAL inline void fiber_main() {
#if EMULATION_ASAN
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  if (block.main.stack.bottom == nullptr) {  // the first fiber ever is entered from the caller's stack
    block.main.stack.bottom = static_cast<char*>(const_cast<void*>(bottom));
    block.main.stack.bytes = bytes;
  }
#endif
  for (;;) {
    acquire(&block.sync_block);
    block.body(block.body_argument);
    leave_block();
    if (block.alive != 0) {
      yield();
    } else {
      switch_to(&block.main);
    }
  }
}

}  // namespace emulation
