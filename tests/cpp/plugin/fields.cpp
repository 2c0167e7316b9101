#include "fields.h"

#include <algorithm>

using nvinfer1::PluginFieldType;

Fields::Fields(const Node& node) {
  if (node.packed) set("num_heads", std::vector<int32_t>{node.heads});
  set("kernel_size", {node.kernel_size[0], node.kernel_size[1]});
  set("dilation", {node.dilation[0], node.dilation[1]});
  set("stride", {1, 1});
  set("is_causal", {0, 0});
  set("scale", node.scale);
}

Fields Fields::copied(const nvinfer1::PluginFieldCollection& written) {
  Fields copy;
  for (int32_t i = 0; i < written.nbFields; ++i) {
    const nvinfer1::PluginField& field = written.fields[i];
    copy.set_bytes(field.name, field.type, field.data, 4 * static_cast<size_t>(field.length), field.length);
  }
  return copy;
}

Fields& Fields::remove(const std::string& name) {
  const auto is_it = [&](const nvinfer1::PluginField& field) { return field.name != nullptr && field.name == name; };
  std::erase_if(fields_, is_it);
  return *this;
}

Fields& Fields::set_bytes(const std::string& name, PluginFieldType type, const void* bytes, size_t size,
                          int32_t length) {
  remove(name);
  return add_bytes(&name, type, bytes, size, length);
}

Fields& Fields::add_bytes(const std::string* name, PluginFieldType type, const void* bytes, size_t size,
                          int32_t length) {
  const char* own_name = name == nullptr ? nullptr : kept(name->c_str(), name->size() + 1);
  fields_.emplace_back(own_name, bytes == nullptr ? nullptr : kept(bytes, size), type, length);
  return *this;
}

Fields& Fields::set(const std::string& name, const std::vector<int32_t>& values) {
  const auto length = static_cast<int32_t>(values.size());
  return set_bytes(name, PluginFieldType::kINT32, values.data(), 4 * values.size(), length);
}

Fields& Fields::set(const std::string& name, float value) {
  return set_bytes(name, PluginFieldType::kFLOAT32, &value, sizeof(value), 1);
}

Fields& Fields::set_text(const std::string& name, const std::string& value) {
  const size_t size = value.size() + 1;  // with the NUL, as TensorRT counts
  return set_bytes(name, PluginFieldType::kCHAR, value.c_str(), size, static_cast<int32_t>(size));
}

std::unique_ptr<nvinfer1::PluginFieldCollection> Fields::collection() const {
  return std::make_unique<nvinfer1::PluginFieldCollection>(
      nvinfer1::PluginFieldCollection{static_cast<int32_t>(fields_.size()), fields_.data()});
}

const char* Fields::kept(const void* bytes, size_t size) {
  memory_.push_back(std::make_unique<char[]>(size));
  if (size > 0) std::memcpy(memory_.back().get(), bytes, size);
  return memory_.back().get();
}
