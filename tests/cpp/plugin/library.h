// The library under test, and the plugins that come out of it.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <string>

#include "fields.h"
#include "node.h"

namespace library {

bool open(const char* path);
void close();

// Calls its entry points.
nvinfer1::IPluginCreatorInterface* const* creators(int32_t& count);
void set_logger_finder(void* finder);
const char* manifest();

nvinfer1::IPluginCreatorV3One& creator(bool packed);

}  // namespace library

// A plugin with its three capabilities.
struct Plugin {
  std::unique_ptr<nvinfer1::IPluginV3> object;

  explicit operator bool() const { return object != nullptr; }
  nvinfer1::IPluginV3OneCore& core() const;
  nvinfer1::IPluginV3OneBuild& build() const;
  nvinfer1::IPluginV3OneRuntime& runtime() const;
  Plugin clone() const { return {std::unique_ptr<nvinfer1::IPluginV3>(object->clone())}; }
  Plugin attached() const { return {std::unique_ptr<nvinfer1::IPluginV3>(runtime().attachToContext(nullptr))}; }
};

Plugin create(const Fields& fields, bool packed, nvinfer1::TensorRTPhase phase = nvinfer1::TensorRTPhase::kBUILD);
Plugin create(const Node& node);

// Fields that a plugin writes into a plan, with names, types, lengths and bytes: equal for equal plugins.
std::string serialized(const Plugin& plugin);
