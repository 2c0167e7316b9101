// From TensorRT's tensor descriptions to the operator's parameters, and the other way for the output's shape.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>

#include "op/parameters.h"
#include "tensorrt/plugin_parameters.h"

namespace natdeploy::trt {

inline constexpr int32_t kOutputs = 1;

// Inputs besides rpb: qkv, or query, key and value.
constexpr int32_t data_inputs(Form form) { return form == Form::kPacked ? 1 : 3; }

// Axes of every data tensor: [B, H, W, channels] or [B, H, W, heads, head_dim].
constexpr int32_t data_axes(Form form) { return form == Form::kPacked ? 4 : 5; }

// rpb is the last input, and may be left out.
constexpr bool has_rpb(Form form, int32_t inputs) { return inputs == data_inputs(form) + 1; }

// Throws Refusal unless these are the numbers of tensors that the operator has.
void check_counts(Form form, int32_t inputs, int32_t outputs);

// Throws Refusal when the plugin does not compute with tensors of this type.
DataType data_type_of(nvinfer1::DataType type);

// Shapes of one call, as pointers into TensorRT's descriptions: nothing is allocated on the way to a launch.
struct Shapes {
  const nvinfer1::Dims* inputs[4] = {};
  int32_t input_count = 0;
  const nvinfer1::Dims* output = nullptr;
};

// Checks concrete shapes against each other and throws Refusal with all that is wrong; natdeploy::problems then says
// whether the operator's rules hold.
AttentionParameters parameters_from_shapes(const PluginParameters& p, const Shapes& shapes, DataType dtype);

// The output's shape as expressions. What is constant is checked here, the rest when the shapes are known.
nvinfer1::DimsExprs output_shape(const PluginParameters& p, const nvinfer1::DimsExprs* inputs, int32_t input_count,
                                 nvinfer1::IExprBuilder& expressions);

}  // namespace natdeploy::trt
