// Plugin fields whose names and values lie in memory of exactly their size: AddressSanitizer sees any look beyond it.
#pragma once

#include <NvInferRuntime.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "node.h"

class Fields {
 public:
  Fields() = default;

  // As the ONNX parser gives them for a valid node.
  explicit Fields(const Node& node);

  // What a plugin wrote into a plan.
  static Fields copied(const nvinfer1::PluginFieldCollection& written);

  Fields& remove(const std::string& name);
  Fields& set_bytes(const std::string& name, nvinfer1::PluginFieldType type, const void* bytes, size_t size,
                    int32_t length);
  Fields& add_bytes(const std::string* name, nvinfer1::PluginFieldType type, const void* bytes, size_t size,
                    int32_t length);
  Fields& set(const std::string& name, const std::vector<int32_t>& values);
  Fields& set(const std::string& name, float value);
  Fields& set_text(const std::string& name, const std::string& value);

  // Valid while this object lives and is not changed.
  std::unique_ptr<nvinfer1::PluginFieldCollection> collection() const;

  size_t size() const { return fields_.size(); }
  nvinfer1::PluginField& operator[](size_t index) { return fields_[index]; }

 private:
  const char* kept(const void* bytes, size_t size);

  std::vector<nvinfer1::PluginField> fields_;
  std::vector<std::unique_ptr<char[]>> memory_;
};
