#include "op/map_grid.h"

namespace natdeploy {
namespace {

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

int64_t longest_group(const AttentionParameters& p) {
  const int64_t rows = round_up(p.map.height, p.dilation.height) / p.dilation.height;
  return rows * (round_up(p.map.width, p.dilation.width) / p.dilation.width);
}

MapGrid map_grid(const AttentionParameters& p) {
  const int64_t tokens = longest_group(p);
  const int64_t query_tokens = round_up(tokens, 16), key_tokens = round_up(tokens, 64);
  const int64_t stage_bytes = (query_tokens + 2 * key_tokens) * p.head_dim * size_of(p.dtype);
  const int64_t places = key_tokens * 4;
  const int64_t table = (2 * int64_t{p.kernel_size.height} - 1) * (2 * int64_t{p.kernel_size.width} - 1) * 4;
  const int64_t room = kMaxSharedBytes - 2 * places - table;
  if (stage_bytes > room) return {};
  const int64_t stages = 2 * stage_bytes <= room ? 2 : 1;
  return {.query_tokens = static_cast<int32_t>(query_tokens),
          .key_tokens = static_cast<int32_t>(key_tokens),
          .stages = static_cast<int32_t>(stages),
          .stage_bytes = static_cast<int32_t>(stage_bytes),
          .places_at = static_cast<int32_t>(stages * stage_bytes),
          .entries_at = static_cast<int32_t>(stages * stage_bytes + places),
          .table_at = static_cast<int32_t>(stages * stage_bytes + 2 * places),
          .shared_bytes = static_cast<int32_t>(stages * stage_bytes + 2 * places + table),
          .images_per_block = 1};
}

}  // namespace natdeploy
