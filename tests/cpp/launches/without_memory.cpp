// Launches what must be refused while no memory can be had, and prints the reason.
#include <natdeploy/op.h>

#include <cstdio>
#include <cstdlib>
#include <new>

static bool is_exhausted = false;

void* operator new(size_t bytes) {
  void* memory = is_exhausted ? nullptr : std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

int main() {
  natdeploy_attention attention{};
  attention.size = sizeof(attention);
  attention.batch = -1;
  char memory[16] = {};
  is_exhausted = true;
  const char* reason = natdeploy_op_launch_packed(&attention, 1, memory, nullptr, memory, nullptr, nullptr);
  is_exhausted = false;
  std::printf("%s\n", reason != nullptr ? reason : "launched");
}
