// One warp's attention on tensor cores: 16 queries against keys and values in shared memory, 8 keys per block.
//
// Scores are S = Q * K^T + bias, 16 queries x 8 keys per mma; then softmax, online where the keys take several steps, and
// O += P * V with 16 keys per mma. A register of an mma's result holds these queries and keys, with group = lane / 4 and
// pair = lane % 4:
//
//   result[0], result[1]   query `group`        keys 2*pair, 2*pair + 1 of the block
//   result[2], result[3]   query `group` + 8    same keys
//
// and two neighbouring blocks of scores, packed to 16 bits, are exactly the left operand of P * V.
//
// A masked key has weight zero, but zero times infinity is NaN: values that are not finite reach all queries of a warp.
#pragma once

#include "op/kernels/tokens.cuh"

namespace natdeploy {

inline constexpr int kWarpQueries = 16;
inline constexpr float kOutsideWindow = -1e30F;  // as a score; finite, because infinity minus itself is NaN

// Bias table of a head, divided by the scale: the scale multiplies sums of score and bias later.
GPU_FUNCTION void load_bias_table(const AttentionParameters& p, const float* rpb, int head, float* table, int threads) {
  const int entries = (2 * p.kernel_size.height - 1) * (2 * p.kernel_size.width - 1);
  for (int i = static_cast<int>(threadIdx.x); i < entries; i += threads) {
    table[i] = p.has_rpb ? rpb[static_cast<int64_t>(head) * entries + i] / p.scale : 0.0F;
  }
}

template <class T, int kHeadDim>
class WarpAttention {
  static constexpr int kChunks = kHeadDim / kChunkElements, kTokenBytes = 2 * kHeadDim;

 public:
  // The warp's queries are 16 tokens of `queries`, from `first_query` on; no other warp touches them.
  GPU_FUNCTION WarpAttention(char* queries, int first_query, int lane, float scale)
      : queries_(queries), first_query_(first_query), lane_(lane), scale_(scale * 1.44269504088896341F) {
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      gpu::load_matrices(query_[k], chunk_address<kHeadDim>(queries, first_query + lane % 16, 2 * k + lane / 16));
    }
  }

  // Takes in kBlocks blocks of keys from `first_key` on. `bias(i, scores)` gives the biases of block i, divided by the
  // scale; it is called block by block, so that few of them have to be kept.
  template <int kBlocks, class Bias>
  GPU_FUNCTION void attend(char* keys, char* values, int first_key, bool is_first, Bias bias) {
    static_assert(kBlocks % 2 == 0, "P * V takes 16 keys at a time");
    float scores[kBlocks][4];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      bias(block, scores[block]);
      add_products(keys, first_key, block, scores[block]);
    }
    raise_maximum(scores, is_first);
    add_values(values, first_key, scores);
  }

  // Writes the 16 results over the queries: from there a lane takes 16 bytes at a time.
  GPU_FUNCTION void replace_queries() {
    gpu::sync_warp();  // every lane has read its queries
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float factor = gpu::reciprocal(sum_[2 * i]);
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const float low = output_[chunk][2 * i] * factor, high = output_[chunk][2 * i + 1] * factor;
        char* const place = chunk_address<kHeadDim>(queries_, first_query_ + lane_ / 4 + 8 * i, chunk);
        *reinterpret_cast<unsigned*>(place + lane_ % 4 * 4) = gpu::pack(low, high, T());
      }
    }
    gpu::sync_warp();
  }

  // Stores this lane's share of the result of query lane / 4 + 8 * i.
  GPU_FUNCTION void store(int i, T* target) const {
#pragma unroll
    for (int j = 0; j < kChunks / 4; ++j) {
      const int chunk = lane_ % 4 + 4 * j;
      *reinterpret_cast<uint4*>(target + chunk * kChunkElements) = *reinterpret_cast<const uint4*>(
          chunk_address<kHeadDim>(queries_, first_query_ + lane_ / 4 + 8 * i, chunk));
    }
  }

 private:
  GPU_FUNCTION void add_products(char* keys, int first_key, int block, float (&scores)[4]) const {
#pragma unroll
    for (int k = 0; k < kHeadDim / 32; ++k) {  // ldmatrix: 8 keys, four chunks
      unsigned key[4];
      gpu::load_matrices(key, chunk_address<kHeadDim>(keys, first_key + lane_ % 8, 4 * k + lane_ / 8) +
                                  block * 8 * kTokenBytes);
      gpu::multiply_accumulate(scores, query_[2 * k], key[0], key[1], scores, T());
      gpu::multiply_accumulate(scores, query_[2 * k + 1], key[2], key[3], scores, T());
    }
  }

  // The four lanes of a group hold the same two queries: they agree on the maxima, and scale down what they have.
  template <int kBlocks>
  GPU_FUNCTION void raise_maximum(const float (&scores)[kBlocks][4], bool is_first) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float maximum = maximum_[i];
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        maximum = fmaxf(maximum, fmaxf(scores[block][2 * i], scores[block][2 * i + 1]));
      }
      maximum = fmaxf(maximum, gpu::shuffle_xor(maximum, 1));
      maximum = fmaxf(maximum, gpu::shuffle_xor(maximum, 2));
      if (!is_first) {
        const float factor = gpu::exp2((maximum_[i] - maximum) * scale_);
#pragma unroll
        for (int j = 2 * i; j < 2 * i + 2; ++j) {
          sum_[j] *= factor;
#pragma unroll
          for (int chunk = 0; chunk < kChunks; ++chunk) output_[chunk][j] *= factor;
        }
      }
      maximum_[i] = maximum;
    }
  }

  GPU_FUNCTION unsigned packed_weights(const float (&scores)[4], int i) const {
    const float shift = -maximum_[i] * scale_;
    return gpu::pack(gpu::exp2(scores[2 * i] * scale_ + shift), gpu::exp2(scores[2 * i + 1] * scale_ + shift), T());
  }

  // O += P * V, and the sums of P's rows as P times ones: they add up the weights as rounded to 16 bits.
  template <int kBlocks>
  GPU_FUNCTION void add_values(char* values, int first_key, const float (&scores)[kBlocks][4]) {
    const unsigned ones = gpu::pack(1.0F, 1.0F, T());
#pragma unroll
    for (int block = 0; block < kBlocks; block += 2) {
      const unsigned weights[4] = {packed_weights(scores[block], 0), packed_weights(scores[block], 1),
                                   packed_weights(scores[block + 1], 0), packed_weights(scores[block + 1], 1)};
#pragma unroll
      for (int chunk = 0; chunk < kChunks; chunk += 2) {  // ldmatrix: 16 keys, two chunks
        unsigned value[4];
        gpu::load_matrices_transposed(value,
                                      chunk_address<kHeadDim>(values, first_key + lane_ % 16, chunk + lane_ / 16) +
                                          block * 8 * kTokenBytes);
        gpu::multiply_accumulate(output_[chunk], weights, value[0], value[1], output_[chunk], T());
        gpu::multiply_accumulate(output_[chunk + 1], weights, value[2], value[3], output_[chunk + 1], T());
      }
      gpu::multiply_accumulate(sum_, weights, ones, ones, sum_, T());
    }
  }

  char* queries_;
  int first_query_, lane_;
  float scale_;  // times log2(e)
  unsigned query_[kHeadDim / 16][4];
  float maximum_[2] = {kOutsideWindow, kOutsideWindow};
  float sum_[4] = {};  // [0] and [2]: of the two queries
  float output_[kChunks][4] = {};
};

}  // namespace natdeploy
