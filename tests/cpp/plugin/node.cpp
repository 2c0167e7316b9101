#include "node.h"

#include <algorithm>

nvinfer1::Dims dims(const Extents& extents) {
  nvinfer1::Dims found{static_cast<int32_t>(extents.size()), {}};
  std::copy(extents.begin(), extents.end(), found.d);
  return found;
}

nvinfer1::PluginTensorDesc tensor(nvinfer1::DataType type, const nvinfer1::Dims& shape) {
  return {shape, type, nvinfer1::PluginFormat::kLINEAR, 1.0F};
}

nvinfer1::DynamicPluginTensorDesc profiled(const nvinfer1::PluginTensorDesc& min, const nvinfer1::PluginTensorDesc& opt,
                                           const nvinfer1::PluginTensorDesc& max) {
  nvinfer1::DynamicPluginTensorDesc found{opt, min.dims, max.dims, opt.dims};
  for (int32_t axis = 0; axis < found.desc.dims.nbDims; ++axis) {
    if (min.dims.d[axis] != max.dims.d[axis]) found.desc.dims.d[axis] = -1;
  }
  return found;
}

Extents Node::input_extents(int32_t index) const {
  if (index == data_inputs()) return {heads, 2 * kernel_size[0] - 1, 2 * kernel_size[1] - 1};
  if (packed) return {batch, height, width, int64_t{3} * heads * head_dim};
  return {batch, height, width, heads, head_dim};
}

Extents Node::output_extents() const {
  if (packed) return {batch, height, width, int64_t{heads} * head_dim};
  return {batch, height, width, heads, head_dim};
}

std::vector<nvinfer1::PluginTensorDesc> Node::tensors() const {
  std::vector<nvinfer1::PluginTensorDesc> found;
  for (int32_t i = 0; i < inputs(); ++i) {
    found.push_back(tensor(i == data_inputs() ? nvinfer1::DataType::kFLOAT : type, dims(input_extents(i))));
  }
  found.push_back(tensor(type, dims(output_extents())));
  found.shrink_to_fit();  // so that AddressSanitizer sees a look behind the last one
  return found;
}

std::vector<nvinfer1::DynamicPluginTensorDesc> profiled(const Node& min, const Node& opt, const Node& max) {
  const auto at_min = min.tensors(), at_opt = opt.tensors(), at_max = max.tensors();
  std::vector<nvinfer1::DynamicPluginTensorDesc> found;
  for (size_t i = 0; i < at_opt.size(); ++i) found.push_back(profiled(at_min[i], at_opt[i], at_max[i]));
  found.shrink_to_fit();
  return found;
}
