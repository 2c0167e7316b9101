// What a builder asks: types, shapes, formats, the profile, tactics, workspace, the timing cache.
#include <algorithm>
#include <limits>
#include <set>

#include "checks.h"
#include "expressions.h"
#include "library.h"
#include "pretended_tensorrt.h"

using nvinfer1::DataType;
using nvinfer1::DynamicPluginTensorDesc;

namespace {

constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();
constexpr DataType kTypes[] = {DataType::kFLOAT, DataType::kHALF, DataType::kBF16};

std::vector<Node> every_form() {
  std::vector<Node> nodes;
  for (const bool packed : {true, false}) {
    for (const bool rpb : {true, false}) nodes.push_back({.packed = packed, .rpb = rpb});
  }
  return nodes;
}

// The output's extents; empty when the plugin refuses. Negative extents are symbols.
Extents output_extents(const Plugin& plugin, const std::vector<Extents>& inputs) {
  Expressions expressions;
  std::vector<nvinfer1::DimsExprs> shapes;
  for (const Extents& extents : inputs) shapes.push_back(expressions.shape(extents));
  nvinfer1::DimsExprs output{};
  const auto count = static_cast<int32_t>(shapes.size());
  if (plugin.build().getOutputShapes(shapes.data(), count, nullptr, 0, &output, 1, expressions) != 0) return {};
  return values_of(output);
}

int32_t configure(const Plugin& plugin, const std::vector<DynamicPluginTensorDesc>& tensors) {
  const auto inputs = static_cast<int32_t>(tensors.size()) - 1;
  return plugin.build().configurePlugin(tensors.data(), inputs, &tensors[inputs], 1);
}

std::vector<int32_t> tactics(const Plugin& plugin) {
  std::vector<int32_t> found(static_cast<size_t>(std::max(0, plugin.build().getNbTactics())));
  EXPECT(plugin.build().getValidTactics(found.data(), static_cast<int32_t>(found.size())) == 0);
  return found;
}

}  // namespace

CHECK(output_types_are_those_of_the_input) {
  for (const Node& node : every_form()) {
    const Plugin plugin = create(node);
    for (const DataType type : kTypes) {
      std::vector<DataType> inputs(static_cast<size_t>(node.data_inputs()), type);
      if (node.rpb) inputs.push_back(DataType::kFLOAT);
      DataType output = DataType::kINT8;
      EXPECT(plugin.build().getOutputDataTypes(&output, 1, inputs.data(), node.inputs()) == 0);
      EXPECT(output == type);
    }
  }
}

CHECK(other_types_are_refused) {
  const Plugin plugin = create(Node{.packed = false});
  DataType output{};
  const auto status = [&](std::vector<DataType> inputs, int32_t outputs = 1) {
    return plugin.build().getOutputDataTypes(&output, outputs, inputs.data(), static_cast<int32_t>(inputs.size()));
  };
  constexpr auto kHalf = DataType::kHALF;
  constexpr auto kFloat = DataType::kFLOAT;
  EXPECT(status({kHalf, kHalf, kHalf, kFloat}) == 0);
  EXPECT(status({kHalf, kHalf, kHalf, kHalf}) != 0);
  EXPECT(status({kHalf, kHalf, kFloat}) != 0);
  EXPECT(status({kHalf, kFloat, kHalf, kFloat}) != 0);
  for (const DataType type : {DataType::kINT8, DataType::kINT32, DataType::kFP8, static_cast<DataType>(77)}) {
    EXPECT(status({type, type, type}) != 0);
  }
  EXPECT(status({kHalf, kHalf}) != 0);
  EXPECT(status({kHalf, kHalf, kHalf, kFloat, kFloat}) != 0);
  EXPECT(status({}) != 0);
  EXPECT(status({kHalf, kHalf, kHalf}, 2) != 0);
  EXPECT(plugin.build().getOutputDataTypes(&output, 1, nullptr, 3) != 0);
  const DataType inputs[] = {kHalf, kHalf, kHalf};
  EXPECT(plugin.build().getOutputDataTypes(nullptr, 1, inputs, 3) != 0);
  EXPECT(plugin.build().getOutputDataTypes(&output, 1, inputs, -1) != 0);
}

CHECK(output_shapes) {
  for (const Node& node : every_form()) {
    const Plugin plugin = create(node);
    std::vector<Extents> fixed, free;
    for (int32_t i = 0; i < node.inputs(); ++i) {
      fixed.push_back(node.input_extents(i));
      free.push_back(fixed.back());
      if (i == node.data_inputs()) continue;
      for (int axis = 0; axis < 3; ++axis) free.back()[axis] *= -1;
    }
    EXPECT(output_extents(plugin, fixed) == node.output_extents());
    EXPECT(output_extents(plugin, free) == node.output_extents());
  }
  EXPECT(output_extents(create(Node{.rpb = false}), {{-2, -9, -22, -96}}) == (Extents{2, 9, 22, 32}));
  EXPECT(!Expressions::a_symbol_was_asked);
}

CHECK(shapes_that_do_not_fit_are_refused) {
  const Plugin packed = create(Node{});
  const Extents qkv{2, 9, 22, 96}, rpb{2, 9, 5};
  const auto reason = [&](const std::vector<Extents>& inputs, const Plugin& plugin) {
    (void)pretended_tensorrt::take_log();
    EXPECT(output_extents(plugin, inputs).empty());
    return pretended_tensorrt::take_log();
  };
  EXPECT_IN("qkv has 3 axes where 4 are needed", reason({{9, 22, 96}, rpb}, packed));
  EXPECT_IN("qkv has 5 axes", reason({{2, 9, 22, 2, 16}, rpb}, packed));
  EXPECT_IN("qkv has 0 axes", reason({{}, rpb}, packed));
  EXPECT_IN("qkv has 95 channels, which 3 * num_heads = 6 does not divide", reason({{2, 9, 22, 95}, rpb}, packed));
  EXPECT_IN("qkv has 0 channels", reason({{2, 9, 22, 0}, rpb}, packed));
  EXPECT_IN("kernel_size 5x3 times dilation 1x2 exceeds the map 4x22", reason({{2, 4, 22, 96}, rpb}, packed));
  EXPECT_IN("exceeds the map 9x5", reason({{-2, 9, 5, 96}, rpb}, packed));
  EXPECT_IN("the map 0x22 is empty", reason({{2, 0, 22, 96}, rpb}, packed));
  EXPECT_IN("rpb has shape [2, 5, 9] where [2, 9, 5] is needed", reason({qkv, {2, 5, 9}}, packed));
  EXPECT_IN("rpb has shape [3, 9, 5]", reason({qkv, {3, 9, 5}}, packed));
  EXPECT_IN("rpb has shape [9, 5]", reason({qkv, {9, 5}}, packed));
  EXPECT_IN("is out of range", reason({{2, int64_t{1} << 40, 22, 96}, rpb}, packed));
  EXPECT_IN("the node has 3 inputs where 1, or 2 with rpb, are needed", reason({qkv, rpb, rpb}, packed));
  const Plugin split = create(Node{.packed = false});
  const Extents query{2, 9, 22, 2, 16};
  EXPECT_IN("value has shape [2, 9, 22, 2, 8], query has [2, 9, 22, 2, 16]",
            reason({query, query, {2, 9, 22, 2, 8}}, split));
  EXPECT_IN("the node has 2 inputs where 3, or 4 with rpb, are needed", reason({query, query}, split));
  EXPECT(!Expressions::a_symbol_was_asked);
}

CHECK(broken_expressions_are_refused) {
  const Plugin plugin = create(Node{.rpb = false});
  Expressions expressions;
  const nvinfer1::DimsExprs good = expressions.shape({2, 9, 22, 96});
  nvinfer1::DimsExprs output{};
  const auto status = [&](nvinfer1::DimsExprs input, nvinfer1::DimsExprs* out, int32_t outputs) {
    return plugin.build().getOutputShapes(&input, 1, nullptr, 0, out, outputs, expressions);
  };
  EXPECT(status(good, &output, 1) == 0);
  EXPECT(status(good, nullptr, 1) != 0);
  EXPECT(status(good, &output, 0) != 0);
  EXPECT(plugin.build().getOutputShapes(nullptr, 1, nullptr, 0, &output, 1, expressions) != 0);
  for (const int32_t axes : {-1, 9, 1000, kMost, kLeast}) {
    nvinfer1::DimsExprs broken = good;
    broken.nbDims = axes;
    EXPECT(status(broken, &output, 1) != 0);
  }
  nvinfer1::DimsExprs without = good;
  without.d[2] = nullptr;
  EXPECT(status(without, &output, 1) != 0);
  expressions.run_dry();
  EXPECT(status(good, &output, 1) != 0);
}

CHECK(formats) {
  for (Node node : every_form()) {
    const Plugin plugin = create(node);
    for (const DataType type : kTypes) {
      node.type = type;
      for (int32_t position = 0; position <= node.inputs(); ++position) {
        // Nothing behind the position is there to be read.
        auto tensors = profiled(node);
        tensors.resize(static_cast<size_t>(position) + 1);
        tensors.shrink_to_fit();
        const auto supported = [&] {
          return plugin.build().supportsFormatCombination(position, tensors.data(), node.inputs(), 1);
        };
        EXPECT(supported());
        for (int32_t format = 1; format < 14; ++format) {
          tensors.back().desc.format = static_cast<nvinfer1::PluginFormat>(format);
          EXPECT(!supported());
        }
        tensors.back().desc.format = nvinfer1::PluginFormat::kLINEAR;
        for (const DataType other : {DataType::kINT8, DataType::kFP8, DataType::kINT64, static_cast<DataType>(-3)}) {
          tensors.back().desc.type = other;
          EXPECT(!supported());
        }
        const bool is_rpb = node.rpb && position == node.data_inputs();
        for (const DataType other : kTypes) {
          tensors.back().desc.type = other;
          const bool right = is_rpb ? other == DataType::kFLOAT : position == 0 || other == type;
          EXPECT(supported() == right);
        }
      }
    }
  }
}

CHECK(hostile_positions) {
  const Plugin plugin = create(Node{});
  const auto tensors = profiled(Node{});
  for (const int32_t position : {-1, 3, 4, kMost, kLeast}) {
    EXPECT(!plugin.build().supportsFormatCombination(position, tensors.data(), 2, 1));
    EXPECT(!plugin.build().supportsFormatCombination(position, tensors.data(), -5, 1));
    EXPECT(!plugin.build().supportsFormatCombination(position, tensors.data(), kLeast, kLeast));
  }
  EXPECT(!plugin.build().supportsFormatCombination(0, nullptr, 2, 1));
  EXPECT(!plugin.build().supportsFormatCombination(0, tensors.data(), kMost, kMost));
  EXPECT(!plugin.build().supportsFormatCombination(0, tensors.data(), 3, 1));
  EXPECT(!plugin.build().supportsFormatCombination(0, tensors.data(), 2, 2));
}

CHECK(profiles) {
  for (const Node& node : every_form()) {
    const Plugin plugin = create(node);
    EXPECT(configure(plugin, profiled(node)) == 0);
    Node small = node, large = node;
    small.batch = 1, small.height = 1;  // as TensorRT reports a map that the graph pads
    large.batch = 64, large.height = 40;
    EXPECT(configure(plugin, profiled(small, node, large)) == 0);
    EXPECT(plugin.build().getWorkspaceSize(profiled(node).data(), node.inputs(), &profiled(node).back(), 1) == 0);
  }
}

CHECK(hostile_profiles) {
  const Node node;
  const Plugin plugin = create(node);
  Node small = node;
  small.height = 4;
  EXPECT(configure(plugin, profiled(small)) != 0);
  EXPECT_IN("exceeds the map 4x22", pretended_tensorrt::take_log());
  EXPECT(configure(plugin, profiled(Node{.head_dim = 257})) != 0);
  EXPECT_IN("head_dim is larger than 256", pretended_tensorrt::take_log());
  EXPECT(configure(plugin, profiled(Node{.type = DataType::kINT8})) != 0);
  for (const int64_t extent : {int64_t{-1}, int64_t{-2}, int64_t{0}, std::numeric_limits<int64_t>::max(),
                               std::numeric_limits<int64_t>::min()}) {
    for (int axis = 0; axis < 4; ++axis) {
      auto tensors = profiled(node);
      tensors[0].max.d[axis] = extent;
      const bool is_empty_batch = axis == 0 && extent == 0;
      EXPECT((configure(plugin, tensors) == 0) == is_empty_batch);
      EXPECT(plugin.build().getWorkspaceSize(tensors.data(), 2, &tensors[2], 1) == 0);
    }
  }
  for (const int32_t axes : {-1, 0, 9, 1000, kMost, kLeast}) {
    for (int index = 0; index < 2; ++index) {
      auto tensors = profiled(node);
      tensors[index].max.nbDims = axes;
      EXPECT(configure(plugin, tensors) != 0);
    }
  }
  const auto tensors = profiled(node);
  EXPECT(plugin.build().configurePlugin(nullptr, 2, &tensors[2], 1) != 0);
  EXPECT(plugin.build().configurePlugin(tensors.data(), 2, nullptr, 1) != 0);
  EXPECT(plugin.build().configurePlugin(tensors.data(), 3, &tensors[2], 1) != 0);
  EXPECT(plugin.build().configurePlugin(tensors.data(), 2, &tensors[2], 0) != 0);
}

// TensorRT refuses 0, and stores what it chooses in the plan.
CHECK(tactics_are_positive_and_each_once) {
  Node node{.batch = 2, .height = 14, .width = 15, .head_dim = 32, .kernel_size = {7, 7}, .dilation = {1, 1}};
  for (const DataType type : kTypes) {
    node.type = type;
    const Plugin plugin = create(node);
    const auto before = tactics(plugin);
    EXPECT(!before.empty());
    EXPECT(configure(plugin, profiled(node)) == 0);
    const auto found = tactics(plugin);
    EXPECT(!found.empty() && found[0] == 1);
    EXPECT(std::set<int32_t>(found.begin(), found.end()).size() == found.size());
    EXPECT(*std::min_element(found.begin(), found.end()) > 0);
    EXPECT((std::find(found.begin(), found.end(), 2) != found.end()) == (type != DataType::kFLOAT));
    EXPECT(tactics(plugin.clone()) == found);
    for (const int32_t tactic : found) EXPECT(plugin.runtime().setTactic(tactic) == 0);
    std::vector<int32_t> room(64, -7);
    for (const int32_t count : {-1, 0, static_cast<int32_t>(found.size()) + 1, kMost}) {
      EXPECT(plugin.build().getValidTactics(room.data(), count) != 0);
    }
    EXPECT(room == std::vector<int32_t>(64, -7));
    EXPECT(plugin.build().getValidTactics(nullptr, static_cast<int32_t>(found.size())) != 0);
  }
}

CHECK(timing_cache_id_tells_attributes_and_kernels) {
  const Node node;
  const Plugin plugin = create(node);
  const std::string id = plugin.build().getTimingCacheID();
  EXPECT_IN("PackedNeighborhoodAttention", id);
  EXPECT_IN("num_heads=2 kernel_size=5x3 dilation=1x2 stride=1x1 is_causal=0x0 scale=0.25", id);
  EXPECT_IN(" kernels=", id);
  const Plugin clone = plugin.clone();
  EXPECT(clone.build().getTimingCacheID() == id);
  EXPECT(std::string(clone.build().getMetadataString()) == plugin.build().getMetadataString());
  EXPECT(configure(plugin, profiled(node)) == 0);
  EXPECT(plugin.build().getTimingCacheID() == id);
  std::set<std::string> ids{id};
  for (const Node& other : {Node{.packed = false}, Node{.heads = 3}, Node{.kernel_size = {3, 5}},
                            Node{.dilation = {2, 1}}, Node{.scale = 0.25000003F}}) {
    ids.insert(create(other).build().getTimingCacheID());
  }
  EXPECT(ids.size() == 6);
  EXPECT_IN(plugin.build().getMetadataString(), id);
  EXPECT(plugin.build().getNbOutputs() == 1);
  EXPECT(plugin.build().getFormatCombinationLimit() > 0);
}
