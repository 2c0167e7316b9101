#include "op/parameters.h"

#include <cmath>
#include <limits>

namespace natdeploy {
namespace {

TensorView dense_view(const AttentionParameters& p, const void* data, int64_t elements_per_token) {
  return {.data = data,
          .batch_stride = elements_per_token * p.map.width * p.map.height,
          .row_stride = elements_per_token * p.map.width,
          .column_stride = elements_per_token,
          .head_stride = p.head_dim};
}

const void* offset(const void* data, int64_t elements, DataType dtype) {
  return data == nullptr ? nullptr : static_cast<const char*>(data) + elements * size_of(dtype);
}

std::string text(Axes axes) { return std::to_string(axes.height) + "x" + std::to_string(axes.width); }

bool any_below(Axes axes, int32_t low) { return axes.height < low || axes.width < low; }

bool fits(int32_t kernel, int32_t dilation, int32_t extent) {
  return static_cast<int64_t>(kernel) * dilation <= extent;  // 64 bits: hostile values must not wrap around
}

}  // namespace

AttentionTensors packed_tensors(const AttentionParameters& p, const void* qkv, const float* rpb, void* output) {
  const int64_t channels = static_cast<int64_t>(p.heads) * p.head_dim;
  return {.query = dense_view(p, qkv, 3 * channels),
          .key = dense_view(p, offset(qkv, channels, p.dtype), 3 * channels),
          .value = dense_view(p, offset(qkv, 2 * channels, p.dtype), 3 * channels),
          .output = dense_view(p, output, channels),
          .rpb = rpb};
}

AttentionTensors split_tensors(const AttentionParameters& p, const void* query, const void* key, const void* value,
                               const float* rpb, void* output) {
  const int64_t channels = static_cast<int64_t>(p.heads) * p.head_dim;
  return {.query = dense_view(p, query, channels),
          .key = dense_view(p, key, channels),
          .value = dense_view(p, value, channels),
          .output = dense_view(p, output, channels),
          .rpb = rpb};
}

std::vector<std::string> problems(const AttentionParameters& p) {
  std::vector<std::string> found;
  if (p.batch < 0) found.push_back("batch " + std::to_string(p.batch) + " is negative");
  if (any_below(p.map, 1)) found.push_back("the map " + text(p.map) + " is empty");
  if (p.heads < 1) found.push_back("num_heads " + std::to_string(p.heads) + " is not positive");
  if (p.head_dim < 1) found.push_back("head_dim " + std::to_string(p.head_dim) + " is not positive");
  if (any_below(p.kernel_size, 1)) found.push_back("kernel_size " + text(p.kernel_size) + " is not positive");
  if (any_below(p.dilation, 1)) found.push_back("dilation " + text(p.dilation) + " is not positive");
  if (p.stride != Axes{1, 1}) found.push_back("stride " + text(p.stride) + " is not supported: only 1");
  if (p.is_causal != Axes{0, 0}) found.push_back("is_causal is not supported");
  if (!std::isfinite(p.scale)) found.push_back("scale is not finite");
  if (!found.empty()) return found;
  if (!fits(p.kernel_size.height, p.dilation.height, p.map.height) ||
      !fits(p.kernel_size.width, p.dilation.width, p.map.width)) {
    found.push_back("kernel_size " + text(p.kernel_size) + " times dilation " + text(p.dilation) + " exceeds the map " +
                    text(p.map));
  }
  return found;
}

}  // namespace natdeploy
