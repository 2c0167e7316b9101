// Shared memory and cp.async. What is not written yet is NaN (0xFF bytes) in float, half and bfloat16, so that a missing
// barrier or wait shows in the result; the block is an allocation of its exact size, so that overruns show too.
#pragma once

#include "emulation/state.h"

namespace emulation {

inline constexpr unsigned char kPoison = 0xFF;

EMULATION_INTERNAL inline char* allocate_shared(size_t bytes) {
#if EMULATION_TSAN  // malloc would count as a write by the allocating thread
  static void* const pool = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* memory = pool;
#else
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, bytes == 0 ? 1 : bytes) != 0) abort();
#endif
  for (size_t i = 0; i < bytes; ++i) static_cast<volatile unsigned char*>(memory)[i] = kPoison;
  return static_cast<char*>(memory);
}

EMULATION_INTERNAL inline void free_shared([[maybe_unused]] void* memory) {
#if !EMULATION_TSAN
  free(memory);
#endif
}

EMULATION_INTERNAL inline void check_shared(const void* address, size_t bytes, unsigned lane, const char* operation) {
  const char* begin = static_cast<const char*>(address);
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
    report_fault("%s: lane %u: the address is not %zu-byte aligned", operation, lane, bytes);
  }
  if (begin < block.shared || begin + bytes > block.shared + block.shared_bytes) {
    report_fault("%s: lane %u: offset %td is outside the %zu bytes of shared memory", operation, lane,
                 begin - block.shared, block.shared_bytes);
  }
}

// cp.async of 16 bytes. Instrumented on purpose: the kernel's reads and writes happen here. Without `full`, the source
// is not read and zeros land.
inline void start_copy(void* destination, const void* source, bool full) {
  check_shared(destination, 16, current->lane, "cp.async");
  if (reinterpret_cast<uintptr_t>(source) % 16 != 0) report_fault("cp.async: the source is not 16-byte aligned");
  AsyncCopy copy{destination, {}, current->copy_group};
  for (unsigned i = 0; i < 16; ++i) {
    copy.bytes[i] = full ? static_cast<const unsigned char*>(source)[i] : 0;
    static_cast<unsigned char*>(destination)[i] = kPoison;
  }
  current->copies.push_back(copy);
}

EMULATION_INTERNAL inline void commit_copies() { ++current->copy_group; }

// Completes all groups but the newest `kept`.
inline void wait_for_copies(unsigned kept) {
  size_t pending = 0;
  for (const AsyncCopy& copy : current->copies) {
    if (copy.group + kept < current->copy_group) {
      for (unsigned i = 0; i < 16; ++i) static_cast<unsigned char*>(copy.destination)[i] = copy.bytes[i];
    } else {
      current->copies[pending++] = copy;
    }
  }
  current->copies.resize(pending);
}

}  // namespace emulation
