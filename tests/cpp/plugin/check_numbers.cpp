// For a library whose kernels run on this CPU (plugins/emulation): what enqueue computes, against plain C++.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>

#include "checks.h"
#include "library.h"
#include "op/scalar.h"

using nvinfer1::DataType;

namespace {

// Values of one tensor as float, and as the bytes that the plugin gets.
struct Values {
  std::vector<float> numbers;
  std::vector<char> bytes;
};

uint16_t to_half(float x) {
  const _Float16 half = static_cast<_Float16>(x);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

float from_half(uint16_t bits) {
  _Float16 half;
  std::memcpy(&half, &bits, sizeof(bits));
  return static_cast<float>(half);
}

uint16_t to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float from_bfloat16(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

size_t size_of(DataType type) { return type == DataType::kFLOAT ? 4 : 2; }

float read(const char* bytes, size_t index, DataType type) {
  uint16_t half;
  float x;
  if (type == DataType::kFLOAT) {
    std::memcpy(&x, bytes + 4 * index, sizeof(x));
    return x;
  }
  std::memcpy(&half, bytes + 2 * index, sizeof(half));
  return type == DataType::kHALF ? from_half(half) : from_bfloat16(half);
}

Values random_values(const Extents& extents, DataType type, std::mt19937& random) {
  size_t count = 1;
  for (const int64_t extent : extents) count *= static_cast<size_t>(extent);
  std::normal_distribution<float> normal;
  Values values{std::vector<float>(count), std::vector<char>(count * size_of(type))};
  for (size_t i = 0; i < count; ++i) {
    const float x = normal(random);
    const uint16_t half = type == DataType::kHALF ? to_half(x) : to_bfloat16(x);
    std::memcpy(&values.bytes[i * size_of(type)], type == DataType::kFLOAT ? static_cast<const void*>(&x) : &half,
                size_of(type));
    values.numbers[i] = read(values.bytes.data(), i, type);
  }
  return values;
}

std::vector<float> expected(const Node& node, const std::vector<Values>& inputs, size_t count) {
  natdeploy::AttentionParameters p{.batch = node.batch,
                                   .map = {static_cast<int32_t>(node.height), static_cast<int32_t>(node.width)},
                                   .heads = node.heads,
                                   .head_dim = node.head_dim,
                                   .kernel_size = {node.kernel_size[0], node.kernel_size[1]},
                                   .dilation = {node.dilation[0], node.dilation[1]},
                                   .stride = {},
                                   .is_causal = {0, 0},
                                   .scale = node.scale,
                                   .has_rpb = node.rpb};
  std::vector<float> output(count);
  const float* rpb = node.rpb ? inputs.back().numbers.data() : nullptr;
  const auto data = [&](size_t i) { return inputs[i].numbers.data(); };
  natdeploy::scalar_attention(
      p, node.packed ? natdeploy::packed_tensors(p, data(0), rpb, output.data())
                     : natdeploy::split_tensors(p, data(0), data(1), data(2), rpb, output.data()));
  return output;
}

struct Run {
  std::vector<float> output;
  double error;
};

// Through attachToContext, setTactic, onShapeChange and enqueue, as an execution context does.
Run run(const Node& node, int32_t tactic) {
  std::mt19937 random(7);
  std::vector<Values> inputs;
  std::vector<const void*> addresses;
  for (int32_t i = 0; i < node.inputs(); ++i) {
    const bool is_rpb = i == node.data_inputs();
    inputs.push_back(random_values(node.input_extents(i), is_rpb ? DataType::kFLOAT : node.type, random));
  }
  for (const Values& values : inputs) addresses.push_back(values.bytes.data());
  const auto tensors = node.tensors();
  Values output = random_values(node.output_extents(), node.type, random);
  void* const outputs[] = {output.bytes.data()};
  const Plugin plugin = create(node).attached();
  EXPECT(plugin.runtime().setTactic(tactic) == 0);
  EXPECT(plugin.runtime().onShapeChange(tensors.data(), node.inputs(), &tensors.back(), 1) == 0);
  EXPECT(plugin.runtime().enqueue(tensors.data(), &tensors.back(), addresses.data(), outputs, nullptr, nullptr) == 0);
  Run done{output.numbers, 0};
  const std::vector<float> right = expected(node, inputs, output.numbers.size());
  for (size_t i = 0; i < right.size(); ++i) {
    done.output[i] = read(output.bytes.data(), i, node.type);
    done.error = std::fmax(done.error, std::fabs(done.output[i] - right[i]));
    if (std::isnan(done.output[i])) done.error = INFINITY;  // fmax drops NaN
  }
  return done;
}

// natdeploy/ops/spec.py: OP_TOLERANCE.
double tolerance(DataType type) {
  return type == DataType::kFLOAT ? 2e-5 : type == DataType::kHALF ? 4e-3 : 4e-2;
}

constexpr DataType kTypes[] = {DataType::kFLOAT, DataType::kHALF, DataType::kBF16};

}  // namespace

CHECK(numbers_of_both_forms) {
  for (const bool packed : {true, false}) {
    for (const bool rpb : {true, false}) {
      for (const DataType type : kTypes) {
        const Node node{.packed = packed, .rpb = rpb, .type = type};
        EXPECT(run(node, 0).error <= tolerance(type));
        EXPECT(run(node, 1).error <= tolerance(type));
      }
    }
  }
}

constexpr Node kForTensorCores{.type = DataType::kHALF, .batch = 1, .height = 14, .width = 15, .head_dim = 32,
                               .kernel_size = {7, 7}, .dilation = {1, 2}, .scale = 0.177F};

CHECK(numbers_of_every_tactic) {
  const Plugin plugin = create(kForTensorCores);
  const auto tensors = profiled(kForTensorCores);
  EXPECT(plugin.build().configurePlugin(tensors.data(), 2, &tensors[2], 1) == 0);
  std::vector<int32_t> tactics(static_cast<size_t>(plugin.build().getNbTactics()));
  EXPECT(plugin.build().getValidTactics(tactics.data(), static_cast<int32_t>(tactics.size())) == 0);
  EXPECT(tactics.size() > 1);
  std::set<std::vector<float>> outputs;  // they round differently: so it shows which one ran
  for (const int32_t tactic : tactics) {
    const Run done = run(kForTensorCores, tactic);
    EXPECT(done.error <= tolerance(DataType::kHALF));
    outputs.insert(done.output);
  }
  EXPECT(outputs.size() == tactics.size());
}

CHECK(a_plan_from_a_newer_gpu_runs_on_an_older_one) {
  Node node = kForTensorCores;
  node.type = DataType::kBF16;  // which tensor cores know since 8.0
  const std::vector<float> newer = run(node, 2).output;
  setenv("FAKE_COMPUTE_CAPABILITY", "75", 1);
  const Run older = run(node, 2);
  EXPECT(older.error <= tolerance(DataType::kBF16));
  EXPECT(older.output == run(node, 0).output);
  EXPECT(older.output != newer);
}
