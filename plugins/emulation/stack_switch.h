// Leaving one stack and going on with another: the one thing of the emulation that C++ cannot say.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstring>

#include "emulation/sanitizers.h"

#if defined(__x86_64__)
// Saves the registers that a function call must preserve on the stack that is left, and takes them from the other.
extern "C" void emulation_switch_stack(void** saved_stack, void* next_stack);
asm(R"(.pushsection .text.emulation_switch_stack,"axG",@progbits,emulation_switch_stack,comdat
.weak emulation_switch_stack
.type emulation_switch_stack,@function
emulation_switch_stack:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.popsection)");
#else
#include <ucontext.h>  // portable, and about four times slower: it saves the signal mask with a system call
#endif

namespace emulation {

inline constexpr size_t kStackBytes = 256 << 10;
inline constexpr size_t kGuardBytes = 64 << 10;  // a multiple of every page size in use

struct Stack {
  char* bottom = nullptr;
  size_t bytes = kStackBytes;
#if defined(__x86_64__)
  void* pointer = nullptr;
#else
  ucontext_t context;
#endif
};

// Maps a stack with an inaccessible page below it, ready to begin in `entry`, which never returns.
EMULATION_INTERNAL inline void prepare_stack(Stack& stack, void (*entry)()) {
  void* memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  mprotect(memory, kGuardBytes, PROT_NONE);
  stack.bottom = static_cast<char*>(memory) + kGuardBytes;
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(stack.bottom + kStackBytes) - 2;  // aligned as after a call
  *top = reinterpret_cast<void*>(entry);
  top -= 6;  // the six registers that the first switch pops; fresh pages are zero
  stack.pointer = top;
#else
  getcontext(&stack.context);
  stack.context.uc_stack.ss_sp = stack.bottom;
  stack.context.uc_stack.ss_size = kStackBytes;
  stack.context.uc_link = nullptr;
  makecontext(&stack.context, entry, 0);
#endif
}

EMULATION_INTERNAL inline void switch_stack(Stack& from, Stack& to) {
#if defined(__x86_64__)
  emulation_switch_stack(&from.pointer, to.pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
}

}  // namespace emulation
