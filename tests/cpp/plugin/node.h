// One attention node: its attributes, and its tensors as TensorRT describes them.
#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>
#include <vector>

using Extents = std::vector<int64_t>;

nvinfer1::Dims dims(const Extents& extents);
nvinfer1::PluginTensorDesc tensor(nvinfer1::DataType type, const nvinfer1::Dims& shape);
nvinfer1::DynamicPluginTensorDesc profiled(const nvinfer1::PluginTensorDesc& min, const nvinfer1::PluginTensorDesc& opt,
                                           const nvinfer1::PluginTensorDesc& max);

struct Node {
  bool packed = true;
  bool rpb = true;
  nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
  int64_t batch = 2;
  int64_t height = 9;
  int64_t width = 22;
  int32_t heads = 2;
  int32_t head_dim = 16;
  std::array<int32_t, 2> kernel_size{5, 3};
  std::array<int32_t, 2> dilation{1, 2};
  float scale = 0.25F;

  int32_t data_inputs() const { return packed ? 1 : 3; }
  int32_t inputs() const { return data_inputs() + (rpb ? 1 : 0); }
  Extents input_extents(int32_t index) const;
  Extents output_extents() const;

  // Inputs, then the output.
  std::vector<nvinfer1::PluginTensorDesc> tensors() const;
};

// The same node at the three points of a profile.
std::vector<nvinfer1::DynamicPluginTensorDesc> profiled(const Node& min, const Node& opt, const Node& max);
inline std::vector<nvinfer1::DynamicPluginTensorDesc> profiled(const Node& node) { return profiled(node, node, node); }
