// From fields to plugins: what is declared, what is accepted, and what is refused with which reason.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "checks.h"
#include "library.h"
#include "pretended_tensorrt.h"

using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

namespace {

constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();

struct Hostile {
  const char* reason;  // that must be logged
  std::function<void(Fields&)> change;
};

// Changes one field's declared type or length and leaves its bytes as they are.
auto redeclared(const std::string& name, PluginFieldType type, int32_t length) {
  return [=](Fields& fields) {
    for (size_t i = 0; i < fields.size(); ++i) {
      if (fields[i].name == name) fields[i].type = type, fields[i].length = length;
    }
  };
}

auto ints(const std::string& name, std::vector<int32_t> values) {
  return [=](Fields& fields) { fields.set(name, values); };
}

auto scale(float value) {
  return [=](Fields& fields) { fields.set("scale", value); };
}

auto removed(const std::string& name) {
  return [=](Fields& fields) { fields.remove(name); };
}

std::vector<Hostile> hostile_fields() {
  constexpr auto kInt = PluginFieldType::kINT32;
  constexpr auto kFloat = PluginFieldType::kFLOAT32;
  return {
      {"num_heads is missing", removed("num_heads")},
      {"kernel_size is missing", removed("kernel_size")},
      {"dilation is missing; stride is missing", [](Fields& f) { f.remove("stride").remove("dilation"); }},
      {"is_causal is missing", removed("is_causal")},
      {"scale is missing", removed("scale")},
      {"kernel_size has TensorRT's field type 0", redeclared("kernel_size", PluginFieldType::kFLOAT16, 2)},
      {"kernel_size has TensorRT's field type 10", redeclared("kernel_size", PluginFieldType::kINT64, 2)},
      {"kernel_size has TensorRT's field type 1", redeclared("kernel_size", kFloat, 2)},
      {"kernel_size has TensorRT's field type 99", redeclared("kernel_size", static_cast<PluginFieldType>(99), 2)},
      {"kernel_size has TensorRT's field type -1", redeclared("kernel_size", static_cast<PluginFieldType>(-1), 2)},
      {"scale has TensorRT's field type 2", redeclared("scale", PluginFieldType::kFLOAT64, 1)},
      {"scale has TensorRT's field type 5", redeclared("scale", kInt, 1)},
      {"kernel_size has 0 values", redeclared("kernel_size", kInt, 0)},
      {"kernel_size has 1 values", redeclared("kernel_size", kInt, 1)},
      {"kernel_size has 3 values", redeclared("kernel_size", kInt, 3)},
      {"kernel_size has -2 values", redeclared("kernel_size", kInt, -2)},
      {"kernel_size has 2147483647 values", redeclared("kernel_size", kInt, kMost)},
      {"scale has -2147483648 values", redeclared("scale", kFloat, kLeast)},
      {"num_heads has 2 values where 1 is needed", redeclared("num_heads", kInt, 2)},
      {"num_heads 0 is not positive", ints("num_heads", {0})},
      {"num_heads -2147483648 is not positive", ints("num_heads", {kLeast})},
      {"kernel_size 0x3 is not positive", ints("kernel_size", {0, 3})},
      {"kernel_size 5x-1 is not positive", ints("kernel_size", {5, -1})},
      {"dilation 1x0 is not positive", ints("dilation", {1, 0})},
      {"exceeds the map", [](Fields& f) { f.set("kernel_size", {kMost, 2}).set("dilation", {2, kMost}); }},
      {"stride 2x1 is not supported", ints("stride", {2, 1})},
      {"is_causal is not supported", ints("is_causal", {0, 1})},
      {"scale is not finite", scale(std::nanf(""))},
      {"scale is not finite", scale(std::numeric_limits<float>::infinity())},
      {"scale is not finite", scale(-std::numeric_limits<float>::infinity())},
      {"'plugin_version' must be '1'", [](Fields& f) { f.set_text("plugin_version", "2"); }},
      {"'plugin_namespace' must be 'natdeploy'", [](Fields& f) { f.set_text("plugin_namespace", ""); }},
      {"'plugin_version' is not a string", [](Fields& f) { f.set("plugin_version", std::vector<int32_t>{1}); }},
      {"'groups' is not an attribute of this operator", [](Fields& f) { f.set("groups", std::vector<int32_t>{1}); }},
      {"'format_version' is not an attribute", [](Fields& f) { f.set("format_version", std::vector<int32_t>{1}); }},
      {"'scale' is given twice",
       [](Fields& f) {
         const std::string name = "scale";
         const float value = 1.0F;
         f.add_bytes(&name, kFloat, &value, sizeof(value), 1);
       }},
      {"a field has no name", [](Fields& f) { f.add_bytes(nullptr, kInt, nullptr, 0, 1); }},
      {"scale has no data", [](Fields& f) { f.set_bytes("scale", kFloat, nullptr, 0, 1); }},
      {"'plugin_version' is not a string",
       [](Fields& f) { f.set_bytes("plugin_version", PluginFieldType::kCHAR, nullptr, 0, 2); }},
      {"'plugin_version' is not a string",
       [](Fields& f) { f.set_bytes("plugin_version", PluginFieldType::kCHAR, "1", 2, kMost); }},
      {"is not an attribute of this operator",
       [](Fields& f) { f.set(std::string(100000, 'x'), std::vector<int32_t>{1}); }},
  };
}

}  // namespace

CHECK(creators_are_two_and_stay) {
  int32_t count = 0;
  auto* const* first = library::creators(count);
  EXPECT(count == 2);
  EXPECT(library::creators(count) == first);
  for (int32_t i = 0; i < count; ++i) {
    EXPECT(first[i]->getAPILanguage() == nvinfer1::APILanguage::kCPP);
    EXPECT(std::string(first[i]->getInterfaceInfo().kind) == "PLUGIN CREATOR_V3ONE");
    EXPECT(first[i]->getInterfaceInfo().major == 1);
    auto* creator = static_cast<nvinfer1::IPluginCreatorV3One*>(first[i]);
    EXPECT(std::string(creator->getPluginVersion()) == "1");
    EXPECT(std::string(creator->getPluginNamespace()) == "natdeploy");
  }
}

CHECK(declared_fields) {
  for (const bool packed : {true, false}) {
    const nvinfer1::PluginFieldCollection* declared = library::creator(packed).getFieldNames();
    const Fields valid(Node{.packed = packed});
    const auto given = valid.collection();
    EXPECT(declared->nbFields == given->nbFields);
    for (int32_t i = 0; i < declared->nbFields; ++i) {
      EXPECT(std::string(declared->fields[i].name) == given->fields[i].name);
      EXPECT(declared->fields[i].type == given->fields[i].type);
      EXPECT(declared->fields[i].length == given->fields[i].length);
      EXPECT(declared->fields[i].data == nullptr);
    }
  }
}

// An engine whose plugin and creator disagree builds, and cannot be loaded.
CHECK(a_plugin_is_called_as_its_creator) {
  for (const bool packed : {true, false}) {
    nvinfer1::IPluginCreatorV3One& creator = library::creator(packed);
    const Plugin plugin = create(Node{.packed = packed});
    EXPECT(std::string(plugin.core().getPluginName()) == creator.getPluginName());
    EXPECT(std::string(plugin.core().getPluginVersion()) == creator.getPluginVersion());
    EXPECT(std::string(plugin.core().getPluginNamespace()) == creator.getPluginNamespace());
    EXPECT(std::string(plugin.object->getInterfaceInfo().kind) == "PLUGIN");
    EXPECT(std::string(plugin.core().getInterfaceInfo().kind) == "PLUGIN_V3ONE_CORE");
    EXPECT(std::string(plugin.build().getInterfaceInfo().kind) == "PLUGIN_V3ONE_BUILD");
    EXPECT(std::string(plugin.runtime().getInterfaceInfo().kind) == "PLUGIN_V3ONE_RUNTIME");
    EXPECT(plugin.object->getCapabilityInterface(static_cast<nvinfer1::PluginCapabilityType>(9)) == nullptr);
  }
}

CHECK(namespace_and_version_may_be_given) {
  Fields fields{Node{}};
  fields.set_text("plugin_namespace", "natdeploy").set_text("plugin_version", "1");
  EXPECT(create(fields, true));
  // Without the NUL at the end, as a careless caller counts.
  fields.set_bytes("plugin_version", PluginFieldType::kCHAR, "1", 1, 1);
  EXPECT(create(fields, true));
}

CHECK(hostile_fields_are_refused_with_a_reason) {
  for (const Hostile& hostile : hostile_fields()) {
    Fields fields{Node{}};
    hostile.change(fields);
    (void)pretended_tensorrt::take_log();
    EXPECT(!create(fields, true));
    const std::string log = pretended_tensorrt::take_log();
    EXPECT_IN("1 natdeploy: PackedNeighborhoodAttention: createPlugin: ", log);
    EXPECT_IN(hostile.reason, log);
    EXPECT(std::count(log.begin(), log.end(), '\n') == 1);
  }
}

CHECK(collections_that_are_none_are_refused) {
  nvinfer1::IPluginCreatorV3One& creator = library::creator(true);
  const Fields fields{Node{}};
  const auto valid = fields.collection();
  EXPECT(creator.createPlugin("attention", nullptr, TensorRTPhase::kBUILD) == nullptr);
  EXPECT(creator.createPlugin("attention", valid.get(), static_cast<TensorRTPhase>(7)) == nullptr);
  for (const int32_t count : {-1, 1, 65, kMost, kLeast}) {
    const nvinfer1::PluginFieldCollection broken{count, nullptr};
    EXPECT(creator.createPlugin("attention", &broken, TensorRTPhase::kBUILD) == nullptr);
  }
  const nvinfer1::PluginFieldCollection too_many{kMost, valid->fields};
  EXPECT(creator.createPlugin("attention", &too_many, TensorRTPhase::kBUILD) == nullptr);
  const nvinfer1::PluginFieldCollection none{0, nullptr};
  EXPECT(creator.createPlugin("attention", &none, TensorRTPhase::kBUILD) == nullptr);
  std::unique_ptr<nvinfer1::IPluginV3> unnamed(creator.createPlugin(nullptr, valid.get(), TensorRTPhase::kBUILD));
  EXPECT(unnamed != nullptr);
}

// What a plan holds comes from a file.
CHECK(hostile_plans_are_refused_with_a_reason) {
  const Plugin plugin = create(Node{});
  const auto refused = [&](const std::function<void(Fields&)>& change) {
    Fields fields = Fields::copied(*plugin.runtime().getFieldsToSerialize());
    change(fields);
    (void)pretended_tensorrt::take_log();
    EXPECT(!create(fields, true, TensorRTPhase::kRUNTIME));
    return pretended_tensorrt::take_log();
  };
  EXPECT_IN("format_version is missing", refused(removed("format_version")));
  EXPECT_IN("format_version has 2 values", refused(redeclared("format_version", PluginFieldType::kINT32, 2)));
  for (const int32_t version : {0, 2, -1, kMost}) {
    EXPECT_IN("the plan holds format " + std::to_string(version), refused(ints("format_version", {version})));
  }
  EXPECT_IN("scale is missing", refused(removed("scale")));
  EXPECT_IN("kernel_size 0x3 is not positive", refused(ints("kernel_size", {0, 3})));
  EXPECT_IN("scale is not finite", refused(scale(std::nanf(""))));
}
