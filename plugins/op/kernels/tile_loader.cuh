// Global to shared memory for the tensor-core kernel: a tile's queries and its halo of keys and values, by cp.async.
//
//   thread      0  1  2  3 | 4  5  6  7 | ...     four threads share a token, 16 bytes each (twice at head_dim 64);
//   column      0          | 1          | ...     as many rows at a time as the block has threads for; a thread keeps
//   chunk       0  1  2  3 | 0  1  2  3 | ...     its column and walks down the rows.
#pragma once

#include "op/kernels/tile_plan.cuh"

namespace natdeploy {

template <class Plan>
class TileLoader {
  using T = typename Plan::T;
  static constexpr int kQueryRowsPerLoad = Plan::kThreads / (4 * kTileColumns);

 public:
  GPU_FUNCTION TileLoader(const AttentionTensors& tensors, const BlockTile& tile)
      : tensors_(tensors),
        tile_(tile),
        chunk_(static_cast<int>(threadIdx.x) % 4),
        column_(static_cast<int>(threadIdx.x) / 4 % Plan::kHaloColumns),
        row_(static_cast<int>(threadIdx.x) / 4 / Plan::kHaloColumns) {
    const int row = tile.rows.halo_first + row_, column = tile.columns.halo_first + column_;
    keys_ = token_pointer<const T>(tensors.key, tile.head, tile.rows, tile.columns, row, column);
    values_ = token_pointer<const T>(tensors.value, tile.head, tile.rows, tile.columns, row, column);
    query_row_ = static_cast<int>(threadIdx.x) / (4 * kTileColumns);
    query_column_ = static_cast<int>(threadIdx.x) / 4 % kTileColumns;
    queries_ = token_pointer<const T>(tensors.query, tile.head, tile.rows, tile.columns, tile.rows.first + query_row_,
                                      tile.columns.first + query_column_);
  }

  // Begins to copy one image's tile; the copies form one group.
  GPU_FUNCTION void start(int64_t image, char* stage) const {
    start_halo(tensors_.key, keys_ + image * tensors_.key.batch_stride, stage + Plan::kKeysAt);
    start_halo(tensors_.value, values_ + image * tensors_.value.batch_stride, stage + Plan::kValuesAt);
    start_queries(queries_ + image * tensors_.query.batch_stride, stage + Plan::kQueriesAt);
    gpu::commit_copies();
  }

 private:
  GPU_FUNCTION void start_halo(const TensorView& view, const T* token, char* shared) const {
    if (row_ >= Plan::kRowsPerLoad) return;  // threads that do not fill a row
#pragma unroll
    for (int first = 0; first < Plan::kHaloRows; first += Plan::kRowsPerLoad) {
      const int row = first + row_;
      const bool is_key = row < tile_.rows.halo_length && column_ < tile_.columns.halo_length;
      if (row < Plan::kHaloRows) copy_token(shared, row * Plan::kHaloColumns + column_, token, is_key);
      token += Plan::kRowsPerLoad * tile_.rows.dilation * view.row_stride;
    }
  }

  GPU_FUNCTION void start_queries(const T* token, char* shared) const {
#pragma unroll
    for (int first = 0; first < kTileRows; first += kQueryRowsPerLoad) {
      const int row = first + query_row_;
      const bool is_query = tile_.rows.has_query(tile_.rows.first + row) &&
                            tile_.columns.has_query(tile_.columns.first + query_column_);
      copy_token(shared, row * kTileColumns + query_column_, token, is_query);
      token += kQueryRowsPerLoad * tile_.rows.dilation * tensors_.query.row_stride;
    }
  }

  // This thread's share of a token; zeros, and no access to `token`, where there is none.
  GPU_FUNCTION void copy_token(char* shared, int index, const T* token, bool exists) const {
#pragma unroll  // over a constant: counted from chunk_, the compiler keeps a test and a second copy per token
    for (int i = 0; i < Plan::kChunks / 4; ++i) {
      const int chunk = chunk_ + 4 * i;
      gpu::copy_async(chunk_address<Plan::kHeadDim>(shared, index, chunk), token + chunk * kChunkElements, exists);
    }
  }

  const AttentionTensors& tensors_;
  const BlockTile& tile_;
  int chunk_, column_, row_, query_row_, query_column_;
  const T *keys_, *values_, *queries_;  // this thread's first tokens in image 0
};

// Tokens behind the halo, which the last warp's last blocks reach.
template <class Plan>
GPU_FUNCTION void clear_behind_halo(char* stage) {
  clear_tokens<Plan::kHeadDim>(stage + Plan::kKeysAt, Plan::kHaloTokens, Plan::kKeyTokens, Plan::kThreads);
  clear_tokens<Plan::kHeadDim>(stage + Plan::kValuesAt, Plan::kHaloTokens, Plan::kKeyTokens, Plan::kThreads);
}

}  // namespace natdeploy
