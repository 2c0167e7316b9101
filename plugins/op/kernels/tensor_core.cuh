// The tensor-core kernel: tiles of 8x8 queries against their halo in shared memory (tile_plan.cuh draws them).
//
// Scores of a warp are S = Q * K^T + bias, 16 queries x 8 keys per mma; then softmax, online where the keys take several
// steps, and O += P * V with 16 keys per mma. A register of an mma's result holds these queries and keys, with
// group = lane / 4 and pair = lane % 4:
//
//   result[0], result[1]   first query row of the warp, column `group`    keys 2*pair, 2*pair + 1 of the block
//   result[2], result[3]   second query row, same column                  same keys
//
// and two neighbouring blocks of scores, packed to 16 bits, are exactly the left operand of P * V.
//
// A masked key has weight zero, but zero times infinity is NaN: values that are not finite reach all queries of a warp.
#pragma once

#include "op/kernels/tile_loader.cuh"

namespace natdeploy {

#if GPU_HAS_TENSOR_CORES

inline constexpr float kOutsideWindow = -1e30F;  // as a score; finite, because infinity minus itself is NaN

// Bias table of a head, divided by the scale: the scale multiplies sums of score and bias later.
template <class Plan>
GPU_FUNCTION void load_bias_table(const AttentionParameters& p, const float* rpb, int head, float* table) {
  constexpr int kEntries = Plan::kTable * Plan::kTable;
  for (int i = static_cast<int>(threadIdx.x); i < kEntries; i += Plan::kThreads) {
    table[i] = p.has_rpb ? rpb[static_cast<int64_t>(head) * kEntries + i] / p.scale : 0.0F;
  }
}

// Where the windows of this lane's two queries lie in the halo.
template <class Plan>
struct LaneWindows {
  const float* table;
  int pair;
  int first_row[2], first_column;   // halo row of each query's window, halo column of both
  int table_row[2], table_column;   // + halo row, + halo column: place in the bias table

  GPU_FUNCTION LaneWindows(const BlockTile& tile, const float* bias_table, int warp, int lane)
      : table(bias_table), pair(lane % 4) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = at_most(tile.rows.first + 2 * warp + i, tile.rows.length - 1);
      first_row[i] = window_start(query, tile.rows.length, Plan::kKernel) - tile.rows.halo_first;
      table_row[i] = tile.rows.halo_first - query + Plan::kKernel - 1;
    }
    const int query = at_most(tile.columns.first + lane / 4, tile.columns.length - 1);
    first_column = window_start(query, tile.columns.length, Plan::kKernel) - tile.columns.halo_first;
    table_column = tile.columns.halo_first - query + Plan::kKernel - 1;
  }

  GPU_FUNCTION static bool is_inside(int place, int first) { return place >= first && place < first + Plan::kKernel; }

  // Biases of this lane's scores in a block of 8 keys; far below everything where the key is outside the window.
  GPU_FUNCTION void bias_of_block(int block, float (&bias)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int query = i / 2, key = block * 8 + 2 * pair + i % 2;
      const int row = first_row[0] + key / Plan::kHaloColumns, column = key % Plan::kHaloColumns;
      const bool inside = is_inside(row, first_row[query]) && is_inside(column, first_column);
      bias[i] = inside ? table[(table_row[query] + row) * Plan::kTable + table_column + column] : kOutsideWindow;
    }
  }
};

// One warp's pass over the keys of its 16 queries.
template <class Plan>
class WarpAttention {
  using T = typename Plan::T;
  static constexpr int kBlocks = Plan::kStepBlocks;

 public:
  GPU_FUNCTION WarpAttention(char* stage, const LaneWindows<Plan>& windows, int warp, int lane, float scale)
      : windows_(windows), queries_(stage + Plan::kQueriesAt), warp_(warp), lane_(lane), scale_(scale) {
    const int first_key = windows.first_row[0] * Plan::kHaloColumns;
    key_token_ = first_key + lane % 8;     // ldmatrix: 8 keys, four chunks
    value_token_ = first_key + lane % 16;  // ldmatrix: 16 keys, two chunks
    keys_ = stage + Plan::kKeysAt;
    values_ = stage + Plan::kValuesAt;
    const int query_token = (2 * warp + lane / 8 % 2) * kTileColumns + lane % 8;
#pragma unroll
    for (int k = 0; k < Plan::kHeadDim / 16; ++k) {
      gpu::load_matrices(query_[k], chunk_address<Plan>(queries_, query_token, 2 * k + lane / 16));
    }
  }

  // `bias` holds all blocks where the plan keeps it in registers, and is unused elsewhere.
  template <int kBiasBlocks>
  GPU_FUNCTION void attend(const float (&bias)[kBiasBlocks][4]) {
#pragma unroll 1  // unrolled, the compiler would keep the places of all biases in registers, and spill them
    for (int first = 0; first < Plan::kKeyBlocks; first += kBlocks) {
      float scores[kBlocks][4];
      compute_scores(first, bias, scores);
      raise_maximum(first, scores);
      add_values(first, scores);
    }
  }

  // Through the shared memory of the queries, which only this warp reads: stores of 16 bytes.
  GPU_FUNCTION void store(const BlockTile& tile, const TensorView& output, int64_t image) {
    gpu::sync_warp();  // every lane has read its queries
    const int group = lane_ / 4, pair = lane_ % 4;
#pragma unroll
    for (int query = 0; query < 2; ++query) {
      const float factor = gpu::reciprocal(sum_[2 * query]);
      const int token = (2 * warp_ + query) * kTileColumns + group;
#pragma unroll
      for (int chunk = 0; chunk < Plan::kChunks; ++chunk) {
        const float low = output_[chunk][2 * query] * factor, high = output_[chunk][2 * query + 1] * factor;
        *reinterpret_cast<unsigned*>(chunk_address<Plan>(queries_, token, chunk) + 4 * pair) = gpu::pack(low, high, T());
      }
    }
    gpu::sync_warp();
    const int column = tile.columns.first + group;
#pragma unroll
    for (int query = 0; query < 2; ++query) {
      const int row = tile.rows.first + 2 * warp_ + query, token = (2 * warp_ + query) * kTileColumns + group;
      if (!tile.rows.has_query(row) || !tile.columns.has_query(column)) continue;
      T* target = const_cast<T*>(token_pointer<T>(output, tile, row, column)) + image * output.batch_stride;
#pragma unroll
      for (int chunk = pair; chunk < Plan::kChunks; chunk += 4) {
        *reinterpret_cast<uint4*>(target + chunk * kChunkElements) =
            *reinterpret_cast<const uint4*>(chunk_address<Plan>(queries_, token, chunk));
      }
    }
  }

 private:
  template <int kBiasBlocks>
  GPU_FUNCTION void compute_scores(int first, const float (&bias)[kBiasBlocks][4], float (&scores)[kBlocks][4]) const {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const int block = first + i;
      if constexpr (Plan::kBiasInRegisters) {
#pragma unroll
        for (int j = 0; j < 4; ++j) scores[i][j] = bias[block][j];
      } else {
        windows_.bias_of_block(block, scores[i]);
      }
#pragma unroll
      for (int k = 0; k < Plan::kHeadDim / 32; ++k) {
        unsigned key[4];
        gpu::load_matrices(key, chunk_address<Plan>(keys_, key_token_, 4 * k + lane_ / 8) + block * 8 * Plan::kTokenBytes);
        gpu::multiply_accumulate(scores[i], query_[2 * k], key[0], key[1], scores[i], T());
        gpu::multiply_accumulate(scores[i], query_[2 * k + 1], key[2], key[3], scores[i], T());
      }
    }
  }

  // The four lanes of a group hold the same two queries: they agree on the maxima, and scale down what they have.
  GPU_FUNCTION void raise_maximum(int first, const float (&scores)[kBlocks][4]) {
#pragma unroll
    for (int query = 0; query < 2; ++query) {
      float maximum = maximum_[query];
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        maximum = fmaxf(maximum, fmaxf(scores[i][2 * query], scores[i][2 * query + 1]));
      }
      maximum = fmaxf(maximum, gpu::shuffle_xor(maximum, 1));
      maximum = fmaxf(maximum, gpu::shuffle_xor(maximum, 2));
      if (first > 0) {
        const float factor = gpu::exp2((maximum_[query] - maximum) * scale_);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          sum_[2 * query + i] *= factor;
#pragma unroll
          for (int chunk = 0; chunk < Plan::kChunks; ++chunk) output_[chunk][2 * query + i] *= factor;
        }
      }
      maximum_[query] = maximum;
    }
  }

  GPU_FUNCTION unsigned packed_weights(const float (&scores)[4], int query) const {
    const float shift = -maximum_[query] * scale_;
    return gpu::pack(gpu::exp2(scores[2 * query] * scale_ + shift), gpu::exp2(scores[2 * query + 1] * scale_ + shift), T());
  }

  // O += P * V, and the sums of P's rows as P times ones: they add up the weights as rounded to 16 bits.
  GPU_FUNCTION void add_values(int first, const float (&scores)[kBlocks][4]) {
    const unsigned ones = gpu::pack(1.0F, 1.0F, T());
#pragma unroll
    for (int i = 0; i < kBlocks; i += 2) {
      const int block = first + i;
      const unsigned weights[4] = {packed_weights(scores[i], 0), packed_weights(scores[i], 1),
                                   packed_weights(scores[i + 1], 0), packed_weights(scores[i + 1], 1)};
#pragma unroll
      for (int chunk = 0; chunk < Plan::kChunks; chunk += 2) {
        unsigned value[4];
        gpu::load_matrices_transposed(
            value, chunk_address<Plan>(values_, value_token_, chunk + lane_ / 16) + block * 8 * Plan::kTokenBytes);
        gpu::multiply_accumulate(output_[chunk], weights, value[0], value[1], output_[chunk], T());
        gpu::multiply_accumulate(output_[chunk + 1], weights, value[2], value[3], output_[chunk + 1], T());
      }
      gpu::multiply_accumulate(sum_, weights, ones, ones, sum_, T());
    }
  }

  const LaneWindows<Plan>& windows_;
  char *keys_, *values_, *queries_;
  int warp_, lane_, key_token_, value_token_;
  float scale_;  // times log2(e)
  unsigned query_[Plan::kHeadDim / 16][4];
  float maximum_[2] = {kOutsideWindow, kOutsideWindow};
  float sum_[4] = {};  // [0] and [2]: of the two queries
  float output_[Plan::kChunks][4] = {};
};

#endif  // GPU_HAS_TENSOR_CORES

template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads)
    tensor_core_attention(const AttentionParameters p, const AttentionTensors tensors, const TileGrid grid) {
#if GPU_HAS_TENSOR_CORES
  GPU_DYNAMIC_SHARED(shared);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const BlockTile tile = block_tile(p, grid, blockIdx.x);
  if (!tile.rows.has_query(tile.rows.first) || !tile.columns.has_query(tile.columns.first)) return;  // a shorter group

  auto* table = reinterpret_cast<float*>(shared + Plan::kTableAt);
  load_bias_table<Plan>(p, tensors.rpb, tile.head, table);
  for (int stage = 0; stage < Plan::kStages; ++stage) clear_behind_halo<Plan>(shared + stage * Plan::kStageBytes);
  const TileLoader<Plan> loader(tensors, tile);
  loader.start(tile.first_image, shared);
  gpu::sync_threads();  // the table is there

  const LaneWindows<Plan> windows(tile, table, warp, lane);
  float bias[Plan::kBiasInRegisters ? Plan::kKeyBlocks : 1][4];
  if constexpr (Plan::kBiasInRegisters) {
#pragma unroll
    for (int block = 0; block < Plan::kKeyBlocks; ++block) windows.bias_of_block(block, bias[block]);
  }

  const bool has_queries = tile.rows.has_query(tile.rows.first + 2 * warp);
  for (int64_t image = tile.first_image; image < tile.end_image; ++image) {
    char* stage = shared + (image - tile.first_image) % Plan::kStages * Plan::kStageBytes;
    const bool has_next = image + 1 < tile.end_image;
    if (Plan::kStages == 2 && has_next) {
      loader.start(image + 1, shared + (image + 1 - tile.first_image) % Plan::kStages * Plan::kStageBytes);
      gpu::wait_for_copies<1>();
    } else {
      gpu::wait_for_copies<0>();
    }
    gpu::sync_threads();  // all threads' copies of this image have landed
    if (has_queries) {
      WarpAttention<Plan> attention(stage, windows, warp, lane, p.scale * 1.44269504088896341F);
      attention.attend(bias);
      attention.store(tile, tensors.output, image);
    }
    if (has_next) gpu::sync_threads();  // the stage is free again
    if (Plan::kStages == 1 && has_next) loader.start(image + 1, shared);
  }
#endif
}

}  // namespace natdeploy
