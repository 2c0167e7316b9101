// The thread block that runs now: its threads (one fiber each), its warps, its shared memory; and how faults are told.
#pragma once

#include <unistd.h>
#include <vector_functions.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <source_location>
#include <vector>

#include "emulation/stack_switch.h"

namespace emulation {

inline constexpr unsigned kMaxThreads = 1024;
inline constexpr unsigned kWarpSize = 32;
inline constexpr unsigned kAllLanes = ~0U;
inline constexpr int kFaultExitCode = 86;  // tells a reported fault from a crash

using Where = std::source_location;

// A cp.async on its way: the bytes land in `destination` at the wait.
struct AsyncCopy {
  void* destination;
  unsigned char bytes[16];
  unsigned group;
};

// What a thread waits in: a barrier of the block, or a collective of some lanes of its warp.
struct Wait {
  const char* operation = nullptr;  // null: the thread is not waiting
  unsigned lanes = 0;               // of the warp; 0 for the barrier of the block
  Where where;
};

struct Fiber {
  Stack stack;
  void* asan_stack = nullptr;
  void* tsan_fiber = nullptr;
  uint3 thread{};
  unsigned lane = 0, warp = 0;
  bool done = true;
  Wait wait;
  unsigned char operand[64], result[64];  // of the collective that it waits in
  std::vector<AsyncCopy> copies;
  unsigned copy_group = 0;
};

struct Warp {
  unsigned lanes = 0, exited = 0, waiting = 0;  // masks
  unsigned generation = 0;                      // collectives so far
  char sync_in = 0, sync_out[2] = {};           // addresses that ThreadSanitizer knows the warp's barriers by
};

// An array without std::vector: its code would be shared with the kernel, and ThreadSanitizer would see it race.
template <class T, unsigned kCapacity>
struct FixedList {
  T items[kCapacity];
  unsigned size = 0;
  EMULATION_INTERNAL void add(const T& item) {
    if (size == kCapacity) abort();
    items[size++] = item;
  }
  EMULATION_INTERNAL void swap(unsigned i, unsigned j) {
    T item = items[i];
    items[i] = items[j];
    items[j] = item;
  }
  EMULATION_INTERNAL T take(unsigned i) {
    T item = items[i];
    items[i] = items[--size];
    return item;
  }
};

struct Block {
  const char* kernel = "?";
  uint3 index{};
  dim3 grid{1, 1, 1}, threads{1, 1, 1};
  unsigned thread_count = 0, alive = 0, waiting = 0, barrier_phase = 0;
  Fiber main;  // the caller of the launch
  std::unique_ptr<Fiber[]> fibers{new Fiber[kMaxThreads]};
  Warp warps[kMaxThreads / kWarpSize];
  FixedList<Fiber*, kMaxThreads> ready;
  Fiber* first_at_barrier = nullptr;
  void (*body)(void*) = nullptr;
  void* body_argument = nullptr;
  char* shared = nullptr;
  size_t shared_bytes = 0;
  bool newest_first = false;  // order of threads: the newest ready one, or a random one
  uint64_t random_state = 1;
  char sync_barrier[2] = {}, sync_block = 0;
};

inline Block block;
inline Fiber* current = nullptr;
inline uint64_t seed = 0;  // of the next launches: the order of the threads follows from it

EMULATION_INTERNAL inline uint32_t random_number() {
  block.random_state ^= block.random_state << 13;
  block.random_state ^= block.random_state >> 7;
  block.random_state ^= block.random_state << 17;
  return static_cast<uint32_t>(block.random_state >> 32);
}

// Ends the process: a kernel with this fault would give anything on a GPU.
[[noreturn]] EMULATION_INTERNAL inline void report_fault(const char* format, ...) {
  fprintf(stderr, "\nemulation: kernel %s, block (%u,%u,%u)", block.kernel, block.index.x, block.index.y,
          block.index.z);
  if (current != nullptr && current != &block.main) {
    fprintf(stderr, ", thread (%u,%u,%u)", current->thread.x, current->thread.y, current->thread.z);
  }
  fprintf(stderr, ": ");
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\n");
  fflush(nullptr);
#if EMULATION_ASAN
  __sanitizer_print_stack_trace();
#endif
  _exit(kFaultExitCode);
}

}  // namespace emulation
