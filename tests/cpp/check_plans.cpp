// Checks windows, tiles and addresses of the kernels by themselves, against definitions written out here: every extent,
// window and dilation up to some size. Prints what is wrong; the exit status says whether anything is.
#include <cstdio>
#include <set>
#include <vector>

#include "emulation/gpu.h"
#include "op/kernels/map_plan.cuh"
#include "op/kernels/tile_plan.cuh"

namespace natdeploy {
namespace {

int failures = 0;

template <class... Values>
void check(bool holds, const char* what, Values... values) {
  if (holds || ++failures > 20) return;
  fprintf(stderr, "%s:", what);
  (fprintf(stderr, " %d", static_cast<int>(values)), ...);
  fprintf(stderr, "\n");
}

// The definition: of all runs of `kernel` tokens in the token's group, the one whose middle is nearest to the token; an
// even window looks one further back than ahead.
std::vector<int> neighbors(int token, int extent, int kernel, int dilation) {
  std::vector<int> group;
  for (int t = token % dilation; t < extent; t += dilation) group.push_back(t);
  const int place = token / dilation;
  int best = 0;
  for (int first = 0; first + kernel <= static_cast<int>(group.size()); ++first) {
    if (std::abs(first + kernel / 2 - place) < std::abs(best + kernel / 2 - place)) best = first;
  }
  return {group.begin() + best, group.begin() + best + kernel};
}

void check_windows() {
  for (int dilation = 1; dilation <= 4; ++dilation) {
    for (int kernel = 1; kernel <= 9; ++kernel) {
      for (int extent = kernel * dilation; extent <= kernel * dilation + 13; ++extent) {
        for (int token = 0; token < extent; ++token) {
          const TokenWindow window = token_window(token, extent, kernel, dilation);
          const std::vector<int> expected = neighbors(token, extent, kernel, dilation);
          for (int i = 0; i < kernel; ++i) {
            check(window.first + i * window.step == expected[i], "neighbor", token, extent, kernel, dilation, i);
            const int offset = (expected[i] - token) / dilation;  // in places of the group
            check(window.relative + i == offset + kernel - 1, "bias", token, extent, kernel, dilation, i);
          }
        }
      }
    }
  }
}

// The halo of a tile is the union of its queries' windows.
void check_tiles() {
  for (int kernel = 3; kernel <= 13; kernel += 2) {
    for (int length = kernel; length <= 40; ++length) {
      for (int first = 0; first < length; first += kTileRows) {
        const AxisTile tile = axis_tile({0, 1, length}, kernel, first, kTileRows);
        std::set<int> keys;
        for (int query = first; query < first + kTileRows && query < length; ++query) {
          for (const int key : neighbors(query, length, kernel, 1)) keys.insert(key);
        }
        check(tile.halo_first == *keys.begin(), "first of halo", kernel, length, first);
        check(tile.halo_first + tile.halo_length == *keys.rbegin() + 1, "end of halo", kernel, length, first);
        check(tile.halo_length <= kTileRows + kernel - 1, "halo too long", kernel, length, first);
      }
    }
  }
}

// The keys of a tile of 16 tokens begin at a multiple of 8, hold all windows, and waste no row.
void check_map_tiles() {
  for (int rows = 1; rows <= 21; ++rows) {
    for (int columns = 1; columns <= 21; ++columns) {
      for (int kernel = 1; kernel <= rows; ++kernel) {
        for (int tile = 0; kWarpQueries * tile < rows * columns; ++tile) {
          const KeySpan span = keys_of_tile(rows, columns, kernel, tile);
          int low = rows, high = 0;
          for (int query = kWarpQueries * tile; query < kWarpQueries * (tile + 1) && query < rows * columns; ++query) {
            const std::vector<int> window = neighbors(query / columns, rows, kernel, 1);
            low = std::min(low, window.front());
            high = std::max(high, window.back() + 1);
          }
          check(span.first % 8 == 0, "keys begin between blocks", rows, columns, kernel, tile);
          check(span.first <= low * columns && span.first + 8 > low * columns, "first key", rows, columns, kernel, tile);
          check(span.first + span.count == high * columns, "end of keys", rows, columns, kernel, tile);
        }
      }
    }
  }
}

// Every chunk has a place of its own, and the eight rows of an ldmatrix lie in different banks.
template <int kHeadDim>
void check_chunks() {
  constexpr int kTokens = 64, kChunks = kHeadDim / kChunkElements;
  static char memory[kTokens * kHeadDim * 2];
  std::set<const char*> places;
  for (int token = 0; token < kTokens; ++token) {
    for (int chunk = 0; chunk < kChunks; ++chunk) places.insert(chunk_address<kHeadDim>(memory, token, chunk));
  }
  check(places.size() == kTokens * kChunks && *places.begin() == memory, "chunks share a place", kHeadDim);
  for (int first = 0; first + 8 <= kTokens; ++first) {
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      std::set<int64_t> banks;  // groups of four: 16 of the 128 bytes that are read at a time
      for (int row = 0; row < 8; ++row) {
        banks.insert((chunk_address<kHeadDim>(memory, first + row, chunk) - memory) / 16 % 8);
      }
      check(banks.size() == 8, "bank conflict", kHeadDim, first, chunk);
    }
  }
}

}  // namespace
}  // namespace natdeploy

int main() {
  natdeploy::check_windows();
  natdeploy::check_tiles();
  natdeploy::check_map_tiles();
  natdeploy::check_chunks<32>();
  natdeploy::check_chunks<64>();
  if (natdeploy::failures > 0) fprintf(stderr, "%d checks failed\n", natdeploy::failures);
  return natdeploy::failures > 0;
}
