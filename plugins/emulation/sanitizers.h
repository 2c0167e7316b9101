// What the emulation tells AddressSanitizer and ThreadSanitizer, so that they judge the kernel and not the emulator.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define EMULATION_ASAN 1
#else
#define EMULATION_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define EMULATION_TSAN 1
extern "C" void __tsan_read_range(void* address, unsigned long size);
#else
#define EMULATION_TSAN 0
#endif

// The emulator's own functions are not instrumented: they read and write on behalf of all threads of a block.
#define EMULATION_INTERNAL \
  __attribute__((noinline, no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

namespace emulation {

// "What happened before the release happened before the acquire": only barriers say this, so that two threads which
// touch the same byte without a barrier between them are a race, in whatever order they ran.
EMULATION_INTERNAL inline void acquire([[maybe_unused]] void* sync) {
#if EMULATION_TSAN
  __tsan_acquire(sync);
#endif
}

EMULATION_INTERNAL inline void release([[maybe_unused]] void* sync) {
#if EMULATION_TSAN
  __tsan_release(sync);
#endif
}

EMULATION_INTERNAL inline void report_read([[maybe_unused]] const void* address, [[maybe_unused]] unsigned long size) {
#if EMULATION_TSAN
  __tsan_read_range(const_cast<void*>(address), size);
#endif
}

}  // namespace emulation
