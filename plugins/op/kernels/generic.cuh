// The generic kernel: every dtype, every head_dim up to 256, every window. One pass over the keys of a query, softmax
// online, all arithmetic in float32.
//
// kLanes neighbouring lanes of a warp share a query; each holds some channels of it, and of the output, in registers,
// while keys and values stream by. With 16-byte vectors, head_dim 32 and half precision, four lanes share a query:
//
//   lane          0        1        2        3        4        5     ...
//   query         q        q        q        q        q+1      q+1   ...
//   channels      0-7      8-15     16-23    24-31    0-7      8-15  ...
//
// so a warp reads whole 64-byte slices, and the score of a key is a sum over four lanes (two shuffles).
#pragma once

#include <cfloat>
#include <cmath>

#include "op/kernels/window.cuh"
#include "op/parameters.h"

namespace natdeploy {

// T: type of the tensors; kVector: elements per load; kVectors: loads per lane and token.
template <class T_, int kVector_, int kLanes_, int kVectors_>
struct GenericPlan {
  using T = T_;
  static constexpr int kVector = kVector_, kLanes = kLanes_, kVectors = kVectors_;
  static constexpr int kThreads = 128, kQueries = kThreads / kLanes;  // per block
  static constexpr int kChannels = kVector * kVectors;                // per lane
  static constexpr int kMaxHeadDim = kChannels * kLanes;
};

inline constexpr int kGenericMaxHeadDim = 256;
inline constexpr int kKeysPerStep = 4;  // scores of several keys are independent: their loads overlap
inline constexpr float kLog2E = 1.44269504088896341F;

template <class T, int kVector>
struct alignas(sizeof(T) * kVector) Vector {
  T items[kVector];
};

// This lane's channels of one token, widened to float32; zero beyond head_dim.
template <class Plan>
GPU_FUNCTION void load_channels(const typename Plan::T* token, int lane, int head_dim, float (&channels)[Plan::kChannels]) {
  using Load = Vector<typename Plan::T, Plan::kVector>;
#pragma unroll
  for (int v = 0; v < Plan::kVectors; ++v) {
    const int first = (v * Plan::kLanes + lane) * Plan::kVector;
    Load loaded{};
    if (first < head_dim) loaded = *reinterpret_cast<const Load*>(token + first);
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) {
      channels[v * Plan::kVector + i] = first < head_dim ? static_cast<float>(loaded.items[i]) : 0.0F;
    }
  }
}

template <class Plan>
GPU_FUNCTION void store_channels(typename Plan::T* token, int lane, int head_dim,
                                 const float (&channels)[Plan::kChannels], float factor) {
  using Store = Vector<typename Plan::T, Plan::kVector>;
#pragma unroll
  for (int v = 0; v < Plan::kVectors; ++v) {
    const int first = (v * Plan::kLanes + lane) * Plan::kVector;
    if (first >= head_dim) continue;
    Store stored;
#pragma unroll
    for (int i = 0; i < Plan::kVector; ++i) {
      stored.items[i] = static_cast<typename Plan::T>(channels[v * Plan::kVector + i] * factor);
    }
    *reinterpret_cast<Store*>(token + first) = stored;
  }
}

template <int kLanes>
GPU_FUNCTION float sum_over_lanes(float value) {
#pragma unroll
  for (int distance = 1; distance < kLanes; distance *= 2) value += gpu::shuffle_xor(value, distance);
  return value;
}

// The queries of a block: consecutive tokens of one image and head. Heads run fastest, because the slices of two
// neighbouring heads share a 128-byte line.
struct QueryBlock {
  int64_t batch;
  int head;
  int64_t first_token;
};

GPU_FUNCTION QueryBlock query_block(int64_t index, int64_t blocks_per_map, int heads, int queries) {
  return {index / heads / blocks_per_map, static_cast<int>(index % heads), index / heads % blocks_per_map * queries};
}

template <class T>
GPU_FUNCTION const T* head_of_image(const TensorView& view, const QueryBlock& place) {
  return static_cast<const T*>(view.data) + place.batch * view.batch_stride + place.head * view.head_stride;
}

GPU_FUNCTION int64_t token_offset(const TensorView& view, int row, int column) {
  return row * view.row_stride + column * view.column_stride;
}

// Softmax over keys seen so far, scores in units of log2.
template <int kChannels>
struct RunningSoftmax {
  float maximum = -FLT_MAX;  // finite: minus infinity minus itself is NaN
  float sum = 0.0F;
  float output[kChannels] = {};

  GPU_FUNCTION void rescale(float new_maximum) {
    const float factor = gpu::exp2(maximum - new_maximum);
    maximum = new_maximum;
    sum *= factor;
#pragma unroll
    for (int i = 0; i < kChannels; ++i) output[i] *= factor;
  }

  GPU_FUNCTION void add(float weight, const float (&value)[kChannels]) {
    sum += weight;
#pragma unroll
    for (int i = 0; i < kChannels; ++i) output[i] += weight * value[i];
  }
};

// One row of a query's window: keys, values and biases of its columns.
template <class T>
struct WindowRow {
  const T* keys;
  const T* values;
  const float* bias;  // null without a table
  int64_t key_step, value_step;
  int length;
};

// Takes in kKeysPerStep keys of a row. Steps past its end repeat the last key with weight zero, so that all lanes of a
// warp do the same.
template <class Plan>
GPU_FUNCTION void attend_to_keys(const WindowRow<typename Plan::T>& row, int first, const float (&query)[Plan::kChannels],
                                 int lane, int head_dim, RunningSoftmax<Plan::kChannels>& softmax) {
  float scores[kKeysPerStep];
  float maximum = softmax.maximum;
#pragma unroll
  for (int i = 0; i < kKeysPerStep; ++i) {
    const int column = at_most(first + i, row.length - 1);
    float key[Plan::kChannels];
    load_channels<Plan>(row.keys + column * row.key_step, lane, head_dim, key);
    float score = 0.0F;
#pragma unroll
    for (int c = 0; c < Plan::kChannels; ++c) score += query[c] * key[c];
    score = sum_over_lanes<Plan::kLanes>(score);
    if (row.bias != nullptr) score += row.bias[column] * kLog2E;
    scores[i] = first + i < row.length ? score : -INFINITY;
    maximum = fmaxf(maximum, scores[i]);
  }
  softmax.rescale(maximum);
#pragma unroll
  for (int i = 0; i < kKeysPerStep; ++i) {
    const int column = at_most(first + i, row.length - 1);
    float value[Plan::kChannels];
    load_channels<Plan>(row.values + column * row.value_step, lane, head_dim, value);
    softmax.add(gpu::exp2(scores[i] - maximum), value);
  }
}

template <class Plan>
GPU_FUNCTION void attend_one_query(const AttentionParameters& p, const AttentionTensors& tensors,
                                   const QueryBlock& place, int64_t token, bool is_real, int lane) {
  using T = typename Plan::T;
  const int row = static_cast<int>(token / p.map.width), column = static_cast<int>(token % p.map.width);
  const TokenWindow rows = token_window(row, p.map.height, p.kernel_size.height, p.dilation.height);
  const TokenWindow columns = token_window(column, p.map.width, p.kernel_size.width, p.dilation.width);
  const int bias_width = 2 * p.kernel_size.width - 1;
  const int64_t bias_rows = static_cast<int64_t>(place.head) * (2 * p.kernel_size.height - 1) + rows.relative;

  float query[Plan::kChannels];
  load_channels<Plan>(head_of_image<T>(tensors.query, place) + token_offset(tensors.query, row, column), lane,
                      p.head_dim, query);
#pragma unroll
  for (int c = 0; c < Plan::kChannels; ++c) query[c] *= p.scale * kLog2E;

  RunningSoftmax<Plan::kChannels> softmax;
  for (int r = 0; r < p.kernel_size.height; ++r) {
    const int key_row = rows.first + r * rows.step;
    const WindowRow<T> window_row = {
        .keys = head_of_image<T>(tensors.key, place) + token_offset(tensors.key, key_row, columns.first),
        .values = head_of_image<T>(tensors.value, place) + token_offset(tensors.value, key_row, columns.first),
        .bias = p.has_rpb ? tensors.rpb + (bias_rows + r) * bias_width + columns.relative : nullptr,
        .key_step = columns.step * tensors.key.column_stride,
        .value_step = columns.step * tensors.value.column_stride,
        .length = p.kernel_size.width};
    for (int first = 0; first < window_row.length; first += kKeysPerStep) {
      attend_to_keys<Plan>(window_row, first, query, lane, p.head_dim, softmax);
    }
  }
  if (!is_real) return;
  T* output = const_cast<T*>(head_of_image<T>(tensors.output, place)) + token_offset(tensors.output, row, column);
  store_channels<Plan>(output, lane, p.head_dim, softmax.output, 1.0F / softmax.sum);
}

// grid.x walks over all blocks of queries of all heads and images: no axis of the grid limits the batch.
template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads)
    generic_attention(const AttentionParameters p, const AttentionTensors tensors) {
  const int64_t tokens = static_cast<int64_t>(p.map.height) * p.map.width;
  const int64_t blocks_per_map = (tokens + Plan::kQueries - 1) / Plan::kQueries;
  const int lane = static_cast<int>(threadIdx.x) % Plan::kLanes;
  for (int64_t index = blockIdx.x; index < blocks_per_map * p.heads * p.batch; index += gridDim.x) {
    const QueryBlock place = query_block(index, blocks_per_map, p.heads, Plan::kQueries);
    const int64_t token = place.first_token + static_cast<int>(threadIdx.x) / Plan::kLanes;
    const bool is_real = token < tokens;  // the others repeat the last token: shuffles need every lane
    attend_one_query<Plan>(p, tensors, place, is_real ? token : tokens - 1, is_real, lane);
  }
}

}  // namespace natdeploy
