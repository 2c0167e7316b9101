// A plugin's life: cloned, written into a plan, restored from it, attached to a context, and run.
#include <limits>

#include "checks.h"
#include "library.h"
#include "pretended_tensorrt.h"

using nvinfer1::PluginTensorDesc;

namespace {

constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();

Plugin restored(const Plugin& plugin, bool packed) {
  return create(Fields::copied(*plugin.runtime().getFieldsToSerialize()), packed, nvinfer1::TensorRTPhase::kRUNTIME);
}

int32_t change_shape(const Plugin& plugin, const std::vector<PluginTensorDesc>& tensors) {
  const auto inputs = static_cast<int32_t>(tensors.size()) - 1;
  return plugin.runtime().onShapeChange(tensors.data(), inputs, &tensors[inputs], 1);
}

}  // namespace

CHECK(clones_live_on_their_own) {
  for (const bool packed : {true, false}) {
    Plugin original = create(Node{.packed = packed, .scale = 0.1F});
    const std::string before = serialized(original);
    Plugin clone = original.clone();
    Plugin second = clone.clone();
    EXPECT(clone.object != original.object);
    EXPECT(serialized(clone) == before);
    original.object.reset();
    EXPECT(serialized(clone) == before);
    clone.object.reset();
    EXPECT(serialized(second) == before);
    EXPECT(second.build().getMetadataString() != nullptr);
  }
}

CHECK(plans_give_back_what_was_written) {
  for (const Node& node :
       {Node{}, Node{.packed = false}, Node{.heads = 1, .kernel_size = {7, 13}, .dilation = {3, 2}, .scale = -0.1F}}) {
    const Plugin plugin = create(node);
    const std::string written = serialized(plugin);
    EXPECT(serialized(plugin) == written);
    EXPECT_IN("format_version:5:1:1 0 0 0 ", written);
    EXPECT_IN("kernel_size:5:2:" + std::to_string(node.kernel_size[0]) + " 0 0 0 ", written);
    EXPECT(plugin.runtime().getFieldsToSerialize()->nbFields == (node.packed ? 7 : 6));
    const Plugin again = restored(plugin, node.packed);
    EXPECT(again);
    if (!again) continue;
    EXPECT(serialized(again) == written);
    EXPECT(std::string(again.build().getTimingCacheID()) == plugin.build().getTimingCacheID());
    EXPECT(!restored(plugin, !node.packed));
  }
}

CHECK(a_context_has_a_plugin_of_its_own) {
  const Node node;
  Plugin original = create(node);
  const std::string written = serialized(original);
  const Plugin first = original.attached(), second = original.attached();
  EXPECT(first && second && first.object != second.object && first.object != original.object);
  original.object.reset();
  EXPECT(serialized(first) == written && serialized(second) == written);
  EXPECT(change_shape(first, node.tensors()) == 0);
}

CHECK(tactics_of_other_libraries_are_refused) {
  const Plugin plugin = create(Node{});
  for (const int32_t tactic : {0, 1, 2, 3}) EXPECT(plugin.runtime().setTactic(tactic) == 0);
  for (const int32_t tactic : {-1, 4, 1000, kMost, kLeast}) {
    (void)pretended_tensorrt::take_log();
    EXPECT(plugin.runtime().setTactic(tactic) != 0);
    EXPECT_IN("tactic " + std::to_string(tactic) + " is unknown: a newer library built this engine",
              pretended_tensorrt::take_log());
  }
}

CHECK(shapes_at_run_time) {
  for (const bool packed : {true, false}) {
    const Node node{.packed = packed};
    const Plugin plugin = create(node);
    EXPECT(change_shape(plugin, node.tensors()) == 0);
    for (const bool rpb : {true, false}) {
      EXPECT(change_shape(plugin, Node{.packed = packed, .rpb = rpb, .batch = 0, .height = 40}.tensors()) == 0);
    }
    auto tensors = node.tensors();
    tensors.back().dims.d[0] = 3;
    EXPECT(change_shape(plugin, tensors) != 0);
    EXPECT_IN("the output has shape [3, 9, 22, ", pretended_tensorrt::take_log());
    EXPECT(change_shape(plugin, Node{.packed = packed, .height = 4}.tensors()) != 0);
    EXPECT_IN("kernel_size 5x3 times dilation 1x2 exceeds the map 4x22", pretended_tensorrt::take_log());
    EXPECT(change_shape(plugin, Node{.packed = packed, .type = nvinfer1::DataType::kINT8}.tensors()) != 0);
    EXPECT(plugin.runtime().onShapeChange(nullptr, node.inputs(), &tensors.back(), 1) != 0);
    EXPECT(plugin.runtime().onShapeChange(tensors.data(), node.inputs(), nullptr, 1) != 0);
    EXPECT(plugin.runtime().onShapeChange(tensors.data(), -1, &tensors.back(), 1) != 0);
    EXPECT(plugin.runtime().onShapeChange(tensors.data(), node.inputs(), &tensors.back(), 2) != 0);
  }
}

CHECK(enqueue_refuses_what_it_cannot_run) {
  const Node node;
  const auto tensors = node.tensors();
  const Plugin plugin = create(node);
  const void* const nothing[2] = {};
  void* no_output[1] = {};
  const auto enqueue = [&](const PluginTensorDesc* in, const void* const* inputs, void* const* outputs) {
    return plugin.runtime().enqueue(in, &tensors[2], inputs, outputs, nullptr, nullptr);
  };
  EXPECT(enqueue(tensors.data(), nothing, no_output) != 0);
  EXPECT_IN("enqueue comes before onShapeChange", pretended_tensorrt::take_log());
  EXPECT(change_shape(plugin, tensors) == 0);
  EXPECT(enqueue(tensors.data(), nothing, no_output) != 0);
  EXPECT(enqueue(tensors.data(), nullptr, no_output) != 0);
  EXPECT(enqueue(tensors.data(), nothing, nullptr) != 0);
  EXPECT(enqueue(nullptr, nothing, no_output) != 0);
  const auto other = Node{.height = 4}.tensors();  // not what onShapeChange was told
  EXPECT(enqueue(other.data(), nothing, no_output) != 0);
  const auto empty = Node{.batch = 0}.tensors();
  EXPECT(plugin.runtime().enqueue(empty.data(), &empty[2], nothing, no_output, nullptr, nullptr) == 0);
}

CHECK(enqueue_says_that_there_is_no_gpu) {
  const Node node;
  const auto tensors = node.tensors();
  const Plugin plugin = create(node).attached();
  EXPECT(change_shape(plugin, tensors) == 0);
  std::vector<float> qkv(2 * 9 * 22 * 96), rpb(2 * 9 * 5), output(2 * 9 * 22 * 32);
  const void* const inputs[] = {qkv.data(), rpb.data()};
  void* const outputs[] = {output.data()};
  EXPECT(plugin.runtime().enqueue(tensors.data(), &tensors[2], inputs, outputs, nullptr, nullptr) != 0);
  EXPECT_IN("PackedNeighborhoodAttention: enqueue: CUDA finds no GPU", pretended_tensorrt::take_log());
}
