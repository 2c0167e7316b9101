// Prints, for one use of the operator and every tactic that can compute it, one line of JSON: the kernel, its grid, and
// how often each thread calls for an instruction (counted on few images, under the emulation).
//
//   record_launches dtype batch height width heads head_dim kernel dilation multiprocessors compute_capability images
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "op/launch.h"

namespace natdeploy {
namespace {

struct Memory {
  explicit Memory(const AttentionParameters& p)
      : qkv(3 * tokens(p) * p.head_dim * size_of(p.dtype)),
        output(tokens(p) * p.head_dim * size_of(p.dtype)),
        rpb(static_cast<size_t>(p.heads) * (2 * p.kernel_size.height - 1) * (2 * p.kernel_size.width - 1)) {}

  static int64_t tokens(const AttentionParameters& p) { return p.batch * p.map.height * p.map.width * p.heads; }

  AttentionTensors tensors(const AttentionParameters& p) {
    return packed_tensors(p, qkv.data(), rpb.data(), output.data());
  }

  std::vector<char> qkv, output;
  std::vector<float> rpb;
};

void print_count(const char* name, int64_t value) { printf(", \"%s\": %lld", name, static_cast<long long>(value)); }

bool do_launch(const AttentionParameters& p, const AttentionTensors& tensors, Tactic tactic) {
  const Status status = launch(p, tensors, tactic, nullptr);
  if (!status.ok()) fprintf(stderr, "tactic %d: %s\n", static_cast<int>(tactic), status.reason);
  return status.ok();
}

// The launch of the whole batch, with the instructions of `counted.batch` images.
bool record(const AttentionParameters& whole, const AttentionParameters& counted, Tactic tactic) {
  Memory memory(counted);
  recorder::runs_kernels = false;
  if (!do_launch(whole, memory.tensors(whole), tactic)) return false;  // reads no memory
  const recorder::Launch launched = recorder::last_launch;
  recorder::runs_kernels = true;
  recorder::counts = {};
  if (!do_launch(counted, memory.tensors(counted), tactic)) return false;
  const recorder::Counts& c = recorder::counts;
  printf("{\"tactic\": %d, \"kernel\": \"%s\", \"grid\": %u, \"threads\": %u, \"shared_bytes\": %zu",
         static_cast<int>(tactic), launched.kernel.c_str(), launched.grid, launched.threads, launched.shared_bytes);
  print_count("images", counted.batch);
  print_count("products", c.products);
  print_count("matrices", c.matrices);
  print_count("copies", c.copies);
  print_count("exponentials", c.exponentials);
  print_count("shuffles", c.shuffles);
  print_count("barriers", c.barriers);
  print_count("copied_bytes", c.copied_bytes);
  printf("}\n");
  return true;
}

int run(char** values) {
  const auto number = [&](int i) { return atoi(values[i]); };
  AttentionParameters p = {.dtype = static_cast<DataType>(number(1)),
                           .batch = number(2),
                           .map = {number(3), number(4)},
                           .heads = number(5),
                           .head_dim = number(6),
                           .kernel_size = {number(7), number(7)},
                           .dilation = {number(8), number(8)},
                           .stride = {},
                           .is_causal = {0, 0},
                           .scale = 0.125F,
                           .has_rpb = true};
  recorder::multiprocessors = number(9);
  recorder::capability = number(10);
  AttentionParameters counted = p;
  counted.batch = number(11);
  bool done = true;
  for (const Tactic tactic : kAllTactics) {
    if (reason_against(tactic, p, recorder::capability) == nullptr) done = record(p, counted, tactic) && done;
  }
  return done ? 0 : 1;
}

}  // namespace
}  // namespace natdeploy

int main(int count, char** values) {
  if (count != 12) {
    fprintf(stderr, "record_launches: 11 arguments, %d given\n", count - 1);
    return 2;
  }
  return natdeploy::run(values);
}
