// Parameters and tensors of one call. Named fields, always in axis order (height, width): a swapped axis shows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace natdeploy {

enum class DataType : int32_t { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };

// One value per spatial axis.
struct Axes {
  int32_t height = 1;
  int32_t width = 1;
  friend bool operator==(const Axes&, const Axes&) = default;
};

// What is computed (docs/design.md, section 3). Rank 2, no stride, not causal: `problems` refuses the rest.
struct AttentionParameters {
  DataType dtype = DataType::kFloat32;  // of query, key, value and output; rpb is always float32
  int64_t batch = 0;
  Axes map;  // extents of the feature map
  int32_t heads = 1;
  int32_t head_dim = 1;
  Axes kernel_size;
  Axes dilation;
  Axes stride;
  Axes is_causal{0, 0};
  float scale = 1.0F;  // multiplies the query
  bool has_rpb = false;
};

// Where a [batch, height, width, heads, head_dim] tensor lies: strides in elements, the last axis contiguous.
struct TensorView {
  const void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t row_stride = 0;
  int64_t column_stride = 0;
  int64_t head_stride = 0;
};

struct AttentionTensors {
  TensorView query;
  TensorView key;
  TensorView value;
  TensorView output;            // `data` is written
  const float* rpb = nullptr;  // [heads, 2*kernel_size-1 per axis], or null
};

// Tensors of the packed form: qkv [B, H, W, 3*heads*head_dim] as a Linear leaves it, output [B, H, W, heads*head_dim].
AttentionTensors packed_tensors(const AttentionParameters& p, const void* qkv, const float* rpb, void* output);

// Tensors of the split form: query, key, value and output each [B, H, W, heads, head_dim].
AttentionTensors split_tensors(const AttentionParameters& p, const void* query, const void* key, const void* value,
                               const float* rpb, void* output);

// All that breaks the contract, one sentence each; empty when the parameters are valid.
std::vector<std::string> problems(const AttentionParameters& p);

// Bytes of one element.
constexpr int64_t size_of(DataType dtype) { return dtype == DataType::kFloat32 ? 4 : 2; }

}  // namespace natdeploy
