// Both headers in C++11, and both libraries linked into one program.
#include <natdeploy/op.h>
#include <natdeploy/tensorrt_plugin.h>

#include <cstddef>
#include <cstdio>

// The layout of version 1, which programs out there were compiled with.
static_assert(sizeof(natdeploy_attention) == 64 && offsetof(natdeploy_attention, batch) == 8, "");
static_assert(offsetof(natdeploy_attention, dtype) == 16 && offsetof(natdeploy_attention, scale) == 56, "");
static_assert(sizeof(natdeploy_tensor) == 40 && offsetof(natdeploy_tensor, head_stride) == 32, "");
static_assert(NATDEPLOY_FLOAT32 == 0 && NATDEPLOY_FLOAT16 == 1 && NATDEPLOY_BFLOAT16 == 2, "");

int main() {
  natdeploy_attention attention{};
  attention.size = sizeof(attention);
  std::printf("%s\n", natdeploy_op_reason_against(natdeploy_op_tactic_id(0), &attention, 90));
  const natdeploy_manifest_function manifest = natdeploy_manifest;
  return manifest() == nullptr;
}
