#include "library.h"

#include <dlfcn.h>

#include <cstdio>
#include <string_view>

#include "pretended_tensorrt.h"

namespace library {
namespace {
void* handle = nullptr;

template <class Function>
Function* function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(handle, name));
}
}  // namespace

bool open(const char* path) {
  handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  return handle != nullptr;
}

void close() { dlclose(handle); }

nvinfer1::IPluginCreatorInterface* const* creators(int32_t& count) {
  return function<nvinfer1::IPluginCreatorInterface* const*(int32_t&)>("getCreators")(count);
}

void set_logger_finder(void* finder) { function<void(void*)>("setLoggerFinder")(finder); }
const char* manifest() { return function<const char*()>("natdeploy_manifest")(); }

nvinfer1::IPluginCreatorV3One& creator(bool packed) {
  set_logger_finder(pretended_tensorrt::logger_finder());
  int32_t count = 0;
  auto* const* all = creators(count);
  const std::string_view name = packed ? "PackedNeighborhoodAttention" : "NeighborhoodAttention";
  for (int32_t i = 0; i < count; ++i) {
    auto* found = static_cast<nvinfer1::IPluginCreatorV3One*>(all[i]);
    if (found->getPluginName() == name) return *found;
  }
  std::abort();
}

}  // namespace library

using nvinfer1::PluginCapabilityType;

nvinfer1::IPluginV3OneCore& Plugin::core() const {
  return *static_cast<nvinfer1::IPluginV3OneCore*>(object->getCapabilityInterface(PluginCapabilityType::kCORE));
}

nvinfer1::IPluginV3OneBuild& Plugin::build() const {
  return *static_cast<nvinfer1::IPluginV3OneBuild*>(object->getCapabilityInterface(PluginCapabilityType::kBUILD));
}

nvinfer1::IPluginV3OneRuntime& Plugin::runtime() const {
  return *static_cast<nvinfer1::IPluginV3OneRuntime*>(object->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

Plugin create(const Fields& fields, bool packed, nvinfer1::TensorRTPhase phase) {
  const auto collection = fields.collection();
  auto* created = library::creator(packed).createPlugin("attention", collection.get(), phase);
  return {std::unique_ptr<nvinfer1::IPluginV3>(created)};
}

Plugin create(const Node& node) { return create(Fields(node), node.packed); }

std::string serialized(const Plugin& plugin) {
  const nvinfer1::PluginFieldCollection* fields = plugin.runtime().getFieldsToSerialize();
  if (fields == nullptr) return "nothing";
  std::string text;
  for (int32_t i = 0; i < fields->nbFields; ++i) {
    const nvinfer1::PluginField& field = fields->fields[i];
    text += std::string(field.name) + ":" + std::to_string(static_cast<int>(field.type)) + ":" +
            std::to_string(field.length) + ":";
    const auto* bytes = static_cast<const unsigned char*>(field.data);
    for (int32_t byte = 0; byte < 4 * field.length; ++byte) text += std::to_string(bytes[byte]) + " ";
  }
  return text;
}
