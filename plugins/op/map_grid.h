// Sizes of the whole-map kernel, computed once per launch and read by every block. Plain C++: no CUDA needed.
#pragma once

#include <cstdint>

#include "op/parameters.h"

namespace natdeploy {

struct MapGrid {
  int32_t query_tokens;  // of shared memory: the longest dilation group, in tiles of 16 queries
  int32_t key_tokens;    // the same in steps of 64 keys
  int32_t stages;        // 2: the next image is copied while this one is computed
  int32_t stage_bytes;   // queries, keys and values of one image
  int32_t places_at;     // behind the stages: row and column of each key
  int32_t entries_at;    // then what each key adds to an index into the bias table
  int32_t table_at;      // then the bias table
  int32_t shared_bytes;  // of a block
  int64_t images_per_block;
};

// Tokens of the longest dilation group, which is the whole map where nothing is dilated.
int64_t longest_group(const AttentionParameters& p);

// For parameters without problems, and one image per block. Where a group does not fit shared memory, `stages` is 0.
MapGrid map_grid(const AttentionParameters& p);

inline constexpr int32_t kMaxSharedBytes = 99 << 10;  // what a block may have on sm_86, sm_89 and sm_120

}  // namespace natdeploy
