// Whatever comes in, and whenever memory runs out: a refusal, never a crash. Run it with AddressSanitizer and UBSan.
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <thread>

#include "checks.h"
#include "expressions.h"
#include "failing_memory.h"
#include "library.h"
#include "pretended_tensorrt.h"

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginFieldType;

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  bool once_in(int n) { return integer(1, n) == 1; }
  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  template <class T, size_t kSize>
  T one_of(const T (&choices)[kSize]) {
    return choices[integer(0, kSize - 1)];
  }

  int32_t int32() {
    constexpr int32_t kChoices[] = {0, 1, 2, 3, 5, 7, 13, 64, 65, -1, std::numeric_limits<int32_t>::max(),
                                    std::numeric_limits<int32_t>::min()};
    return once_in(4) ? static_cast<int32_t>(integer(-(int64_t{1} << 31), (int64_t{1} << 31) - 1)) : one_of(kChoices);
  }

  int64_t extent() {
    constexpr int64_t kChoices[] = {-1, 0, 1, 2, 5, 9, 16, 22, 96, -2, int64_t{1} << 31, int64_t{1} << 62,
                                    std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};
    return one_of(kChoices);
  }

  float float32() {
    constexpr float kChoices[] = {0.25F, 0.0F, -1.0F, 1e-45F, 3e38F, std::numeric_limits<float>::infinity(),
                                  std::numeric_limits<float>::quiet_NaN()};
    return one_of(kChoices);
  }

 private:
  std::mt19937_64 engine_;
};

constexpr const char* kNames[] = {"num_heads", "kernel_size",      "dilation",       "stride",         "is_causal",
                                  "scale",     "plugin_namespace", "plugin_version", "format_version", "unknown",
                                  ""};

// A field whose type and length may be anything; its bytes are as many as a field of that type and length may have.
void add_random_field(Fields& fields, Random& random) {
  const std::string name = random.one_of(kNames);
  constexpr PluginFieldType kLikely[] = {PluginFieldType::kINT32, PluginFieldType::kFLOAT32, PluginFieldType::kCHAR};
  const auto type = random.once_in(3) ? static_cast<PluginFieldType>(random.integer(-2, 15)) : random.one_of(kLikely);
  const int32_t length = random.once_in(2) ? static_cast<int32_t>(random.integer(0, 3)) : random.int32();
  std::vector<int32_t> words(length >= 0 && length <= 2000 ? static_cast<size_t>(length) : 0);
  for (int32_t& word : words) {
    const float x = random.float32();
    word = random.int32();
    if (random.once_in(2)) std::memcpy(&word, &x, sizeof(word));
  }
  const size_t size = words.size() * (type == PluginFieldType::kCHAR ? 1 : 4);
  fields.remove(name);
  const bool is_unnamed = random.once_in(20), has_no_data = random.once_in(10);
  fields.add_bytes(is_unnamed ? nullptr : &name, type, has_no_data ? nullptr : words.data(), size, length);
}

Fields random_fields(Random& random) {
  Node node{.heads = static_cast<int32_t>(random.integer(1, 4))};
  for (int32_t& value : node.kernel_size) value = random.once_in(4) ? random.int32() : value;
  for (int32_t& value : node.dilation) value = random.once_in(4) ? random.int32() : value;
  node.scale = random.once_in(4) ? random.float32() : node.scale;
  Fields fields{node};
  for (int64_t changes = random.integer(0, 2); changes > 0; --changes) {
    if (random.once_in(3)) {
      fields.remove(random.one_of(kNames));
    } else {
      add_random_field(fields, random);
    }
  }
  return fields;
}

Dims random_dims(const Dims& valid, Random& random) {
  constexpr int32_t kAxes[] = {-1, 0, 3, 4, 5, 8, 9, 100, std::numeric_limits<int32_t>::max()};
  Dims found = valid;
  if (random.once_in(8)) found.nbDims = random.one_of(kAxes);
  for (int64_t& extent : found.d) extent = random.once_in(8) ? random.extent() : extent;
  return found;
}

// Eight descriptions, more than any form has; the first of them valid but for what chance changes.
std::vector<DynamicPluginTensorDesc> random_tensors(const Node& node, Random& random) {
  constexpr DataType kTypes[] = {DataType::kFLOAT, DataType::kHALF, DataType::kBF16, DataType::kINT8,
                                 static_cast<DataType>(50)};
  auto tensors = profiled(node);
  tensors.resize(8);
  for (DynamicPluginTensorDesc& tensor : tensors) {
    for (Dims* dims : {&tensor.desc.dims, &tensor.min, &tensor.opt, &tensor.max}) *dims = random_dims(*dims, random);
    if (random.once_in(6)) tensor.desc.type = random.one_of(kTypes);
    if (random.once_in(6)) tensor.desc.format = static_cast<nvinfer1::PluginFormat>(random.integer(-1, 14));
  }
  return tensors;
}

void drive_build(const Plugin& plugin, const std::vector<DynamicPluginTensorDesc>& tensors, int32_t inputs,
                 int32_t outputs, Random& random) {
  nvinfer1::IPluginV3OneBuild& build = plugin.build();
  (void)build.configurePlugin(tensors.data(), inputs, &tensors[4], outputs);
  (void)build.getWorkspaceSize(tensors.data(), inputs, &tensors[4], outputs);
  for (int32_t position = -1; position < 8; ++position) {
    (void)build.supportsFormatCombination(position, tensors.data(), inputs, outputs);
  }
  std::vector<DataType> types;
  for (const DynamicPluginTensorDesc& tensor : tensors) types.push_back(tensor.desc.type);
  DataType output_types[1];
  (void)build.getOutputDataTypes(output_types, outputs, types.data(), inputs);
  Expressions expressions;
  std::vector<nvinfer1::DimsExprs> shapes(8);
  for (size_t i = 0; i < shapes.size(); ++i) {
    shapes[i].nbDims = tensors[i].desc.dims.nbDims;
    for (int axis = 0; axis < Dims::MAX_DIMS; ++axis) {
      const int64_t extent = tensors[i].desc.dims.d[axis];
      shapes[i].d[axis] = extent == -1 ? expressions.symbol(7) : expressions.constant(extent);
    }
    if (random.once_in(16)) shapes[i].d[random.integer(0, Dims::MAX_DIMS - 1)] = nullptr;
  }
  nvinfer1::DimsExprs output_shape{};
  (void)build.getOutputShapes(shapes.data(), inputs, nullptr, 0, &output_shape, outputs, expressions);
  std::vector<int32_t> tactics(16);
  (void)build.getValidTactics(tactics.data(), build.getNbTactics());
}

void drive_runtime(const Plugin& plugin, const std::vector<DynamicPluginTensorDesc>& tensors, int32_t inputs,
                   int32_t outputs, Random& random) {
  const Plugin context = plugin.attached();
  std::vector<nvinfer1::PluginTensorDesc> now;
  for (const DynamicPluginTensorDesc& tensor : tensors) now.push_back(tensor.desc);
  const void* const nothing[8] = {};
  void* const no_output[1] = {};
  (void)context.runtime().setTactic(random.int32());
  (void)context.runtime().onShapeChange(now.data(), inputs, &now[4], outputs);
  (void)context.runtime().enqueue(now.data(), &now[4], nothing, no_output, nullptr, nullptr);
}

// Creates, clones, serializes and restores; true when every step gave what it should.
bool lives(const Node& node) {
  const Plugin plugin = create(node);
  if (!plugin) return false;
  const Plugin clone = plugin.clone(), attached = plugin.attached();
  if (!clone || !attached || clone.runtime().getFieldsToSerialize() == nullptr) return false;
  const auto tensors = profiled(node);
  if (plugin.build().configurePlugin(tensors.data(), node.inputs(), &tensors.back(), 1) != 0) return false;
  int32_t tactics[16];
  const int32_t count = plugin.build().getNbTactics();
  return count > 0 && plugin.build().getValidTactics(tactics, count) == 0;
}

}  // namespace

CHECK(ten_thousand_random_field_sets) {
  Random random(20261123);
  int created = 0;
  for (int i = 0; i < 10000; ++i) {
    const bool packed = random.once_in(2);
    const bool restored = random.once_in(4);
    Fields fields = random_fields(random);
    if (!packed && random.once_in(2)) fields.remove("num_heads");
    if (restored && random.once_in(2)) fields.set("format_version", std::vector<int32_t>{1});
    const auto phase = restored ? nvinfer1::TensorRTPhase::kRUNTIME : nvinfer1::TensorRTPhase::kBUILD;
    const Plugin plugin = create(fields, packed, phase);
    if (!plugin) {
      EXPECT(!pretended_tensorrt::take_log().empty());
      continue;
    }
    ++created;
    const std::string written = serialized(plugin);
    for (int round = 0; round < 4; ++round) {
      const auto inputs = static_cast<int32_t>(random.once_in(4) ? random.integer(-1, 6) : packed ? 2 : 4);
      const auto outputs = static_cast<int32_t>(random.once_in(8) ? random.integer(-1, 3) : 1);
      const auto tensors = random_tensors({.packed = packed}, random);
      drive_build(plugin, tensors, inputs, outputs, random);
      drive_runtime(plugin, tensors, inputs, outputs, random);
    }
    EXPECT(serialized(plugin) == written);
  }
  EXPECT(created > 500);  // both ways are taken often
  EXPECT(created < 9500);
}

CHECK(every_allocation_may_fail) {
  const Node node;
  EXPECT(lives(node));  // what is allocated once is allocated now
  int64_t failed = 0;
  for (int64_t allowed = 0;; ++allowed) {
    allocations_left = allowed;
    bool done = false;
    try {
      done = lives(node);
    } catch (const std::bad_alloc&) {  // thrown by this program's own code, not through the library
    }
    allocations_left = -1;
    if (done) break;
    ++failed;
  }
  EXPECT(failed > 20);
  EXPECT_IN("createPlugin: std::bad_alloc", pretended_tensorrt::take_log());
}

CHECK(threads_may_build_side_by_side) {
  (void)library::creator(true);
  std::vector<std::thread> threads;
  std::vector<int> lived(4);
  for (int& count : lived) {
    threads.emplace_back([&count] {
      for (int i = 0; i < 200; ++i) {
        count += lives(Node{.rpb = i % 2 == 0});
        (void)create(Node{.heads = 0});  // logs
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT(lived == std::vector<int>(4, 200));
}
