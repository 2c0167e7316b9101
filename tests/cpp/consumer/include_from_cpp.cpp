// Both headers in C++11, and both libraries linked into one program.
#include <natdeploy/op.h>
#include <natdeploy/tensorrt_plugin.h>

#include <cstdio>

int main() {
  natdeploy_attention attention{};
  attention.size = sizeof(attention);
  static_assert(sizeof(natdeploy_attention) == 64 && sizeof(natdeploy_tensor) == 40, "the layout of version 1");
  std::printf("%s\n", natdeploy_op_reason_against(natdeploy_op_tactic_id(0), &attention, 90));
  const natdeploy_manifest_function manifest = natdeploy_manifest;
  return manifest() == nullptr;
}
