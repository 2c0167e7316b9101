// What a plugin is created from, and its way through TensorRT's field collections: from an ONNX node when an engine is
// built, from a plan when it is loaded.
#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "op/parameters.h"

namespace natdeploy::trt {

inline constexpr int32_t kRank = 2;

// Format of the fields in a plan. Raise it when their meaning changes, and keep reading the older ones.
inline constexpr int32_t kFormatVersion = 1;
inline constexpr const char* kFormatVersionField = "format_version";

enum class Form : int32_t { kPacked, kSplit };

std::string_view op_type(Form form);

// The attributes of a node, as plain arrays in axis order: field collections point into them.
struct PluginParameters {
  Form form = Form::kPacked;
  int32_t format_version = kFormatVersion;
  int32_t num_heads = 1;  // packed form only
  std::array<int32_t, kRank> kernel_size{1, 1};
  std::array<int32_t, kRank> dilation{1, 1};
  std::array<int32_t, kRank> stride{1, 1};
  std::array<int32_t, kRank> is_causal{0, 0};
  float scale = 1.0F;
};

// The attributes as the operator takes them; data type, batch, map and head_dim are left at their defaults.
AttentionParameters operator_attributes(const PluginParameters& parameters);

// All attributes in one line: "kernel_size=7x7 dilation=2x2 ... scale=0.176776692".
std::string description(const PluginParameters& parameters);

// Reads every field, checks its name, type, length and range, and throws Refusal with all that is wrong.
PluginParameters parameters_from_fields(Form form, const nvinfer1::PluginFieldCollection* collection,
                                        nvinfer1::TensorRTPhase phase);

// Fields whose data lie in `parameters`, which must outlive them.
std::vector<nvinfer1::PluginField> fields_of(const PluginParameters& parameters);

// The names that TensorRT's ONNX parser shall read from a node, without data.
std::vector<nvinfer1::PluginField> declared_fields(Form form);

}  // namespace natdeploy::trt
