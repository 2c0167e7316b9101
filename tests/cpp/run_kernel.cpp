// Runs one kernel on the CPU: parameters as name=value arguments, tensors raw on stdin, the output raw on stdout.
//
//   run_kernel tactic=generic seed=3 layout=packed dtype=float16 batch=2 map=9x11 heads=2 head_dim=16
//              kernel_size=5x3 dilation=1x2 scale=0.25 rpb=1 < qkv,rpb > output
//
// tactic: generic, tensor_core, whole_map (executed by plugins/emulation), preferred, or scalar (plain C++, float32).
// layout: packed (stdin holds qkv), split (query, key, value), heads_first (split, heads before the map in memory) or
// misaligned (split, each tensor one element behind an aligned address).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "emulation/gpu.h"
#include "op/launch.h"
#include "op/scalar.h"

namespace natdeploy {
namespace {

using Arguments = std::map<std::string, std::string>;

// A device allocation as cudaMalloc gives it: aligned, of its exact size (AddressSanitizer sees an overrun), full of NaN.
class Buffer {
 public:
  explicit Buffer(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes_ == 0 ? 1 : bytes_) != 0) throw std::bad_alloc();
    memory_.reset(static_cast<char*>(memory));
    memset(memory, 0xFF, bytes_);
  }

  void read(size_t skipped_bytes = 0) {
    if (fread(memory_.get() + skipped_bytes, 1, bytes_ - skipped_bytes, stdin) != bytes_ - skipped_bytes) {
      throw std::runtime_error("stdin ended early");
    }
  }

  void write(size_t skipped_bytes = 0) const {
    fwrite(memory_.get() + skipped_bytes, 1, bytes_ - skipped_bytes, stdout);
  }

  char* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(char* memory) const { free(memory); }
  };
  size_t bytes_;
  std::unique_ptr<char, Free> memory_;
};

Axes axes_of(const std::string& text) {
  const size_t cross = text.find('x');
  return {std::stoi(text.substr(0, cross)), std::stoi(text.substr(cross + 1))};
}

template <class T>
T one_of(const std::map<std::string, T>& choices, const std::string& name) {
  if (!choices.contains(name)) throw std::runtime_error("unknown choice " + name);
  return choices.at(name);
}

AttentionParameters parameters_of(const Arguments& a) {
  return {.dtype = one_of<DataType>({{"float32", DataType::kFloat32},
                                     {"float16", DataType::kFloat16},
                                     {"bfloat16", DataType::kBFloat16}},
                                    a.at("dtype")),
          .batch = std::stoll(a.at("batch")),
          .map = axes_of(a.at("map")),
          .heads = std::stoi(a.at("heads")),
          .head_dim = std::stoi(a.at("head_dim")),
          .kernel_size = axes_of(a.at("kernel_size")),
          .dilation = axes_of(a.at("dilation")),
          .stride = {},
          .is_causal = {0, 0},
          .scale = std::stof(a.at("scale")),
          .has_rpb = a.at("rpb") == "1"};
}

int64_t token_elements(const AttentionParameters& p) {
  return p.batch * p.map.height * p.map.width * p.heads * p.head_dim;
}

// [batch, heads, height, width, head_dim] in memory.
TensorView heads_first(const TensorView& view, const AttentionParameters& p) {
  const int64_t map = static_cast<int64_t>(p.map.height) * p.map.width * p.head_dim;
  return {view.data, map * p.heads, static_cast<int64_t>(p.map.width) * p.head_dim, p.head_dim, map};
}

void run(const AttentionParameters& p, const AttentionTensors& tensors, const std::string& tactic) {
  if (tactic == "scalar") return scalar_attention(p, tensors);
  const Tactic chosen = one_of<Tactic>({{"generic", Tactic::kGeneric},
                                        {"tensor_core", Tactic::kTensorCore},
                                        {"whole_map", Tactic::kWholeMap},
                                        {"preferred", preferred_tactic(p, gpu::compute_capability())}},
                                       tactic);
  const Status status = launch(p, tensors, chosen, nullptr);
  if (!status.ok()) throw std::runtime_error(status.reason);
}

void run_packed(const AttentionParameters& p, const Arguments& a, Buffer& rpb) {
  Buffer qkv(3 * token_elements(p) * size_of(p.dtype)), output(token_elements(p) * size_of(p.dtype));
  qkv.read();
  rpb.read();
  const auto* bias = p.has_rpb ? reinterpret_cast<const float*>(rpb.data()) : nullptr;
  run(p, packed_tensors(p, qkv.data(), bias, output.data()), a.at("tactic"));
  output.write();
}

void run_split(const AttentionParameters& p, const Arguments& a, Buffer& rpb) {
  const int64_t shift = a.at("layout") == "misaligned" ? size_of(p.dtype) : 0;
  const int64_t bytes = token_elements(p) * size_of(p.dtype) + shift;
  Buffer query(bytes), key(bytes), value(bytes), output(bytes);
  for (Buffer* tensor : {&query, &key, &value}) tensor->read(shift);
  rpb.read();
  const auto* bias = p.has_rpb ? reinterpret_cast<const float*>(rpb.data()) : nullptr;
  AttentionTensors tensors = split_tensors(p, query.data() + shift, key.data() + shift, value.data() + shift, bias,
                                           output.data() + shift);
  if (a.at("layout") == "heads_first") {
    for (TensorView* view : {&tensors.query, &tensors.key, &tensors.value, &tensors.output}) {
      *view = heads_first(*view, p);
    }
  }
  run(p, tensors, a.at("tactic"));
  output.write(shift);
}

void run_program(const Arguments& a) {
  const AttentionParameters p = parameters_of(a);
  emulation::seed = std::stoull(a.at("seed"));
  const int64_t table = static_cast<int64_t>(2 * p.kernel_size.height - 1) * (2 * p.kernel_size.width - 1);
  Buffer rpb(p.has_rpb ? p.heads * table * 4 : 0);
  if (a.at("layout") == "packed") {
    run_packed(p, a, rpb);
  } else {
    run_split(p, a, rpb);
  }
}

}  // namespace
}  // namespace natdeploy

int main(int count, char** values) {
  natdeploy::Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string argument = values[i];
    const size_t equals = argument.find('=');
    arguments[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  try {
    natdeploy::run_program(arguments);
  } catch (const std::exception& error) {
    fprintf(stderr, "run_kernel: %s\n", error.what());
    return 1;
  }
  return 0;
}
