// Which tokens a query attends to along one axis, for every kernel.
//
//   dilation 2, extent 9:  token  0 1 2 3 4 5 6 7 8        two groups, independent of each other:
//                          group  0 1 0 1 0 1 0 1 0        group 0 has length 5, group 1 has length 4
//                          place  0 0 1 1 2 2 3 3 4        (a token's index inside its group)
//
// A window is `kernel` consecutive places of the group. At the border it shifts, it never shrinks.
#pragma once

#include "op/gpu.cuh"

namespace natdeploy {

GPU_AND_HOST_FUNCTION int at_most(int value, int limit) { return value < limit ? value : limit; }

// Number of tokens whose index is `group` modulo `dilation`.
GPU_AND_HOST_FUNCTION int group_length(int extent, int group, int dilation) {
  return (extent - group + dilation - 1) / dilation;
}

// First place of the window of the query at `place`.
GPU_AND_HOST_FUNCTION int window_start(int place, int length, int kernel) {
  const int start = place - kernel / 2;
  return at_most(start < 0 ? 0 : start, length - kernel);
}

// The tokens of one dilation group along one axis.
struct AxisGroup {
  int group, dilation, length;

  GPU_FUNCTION int token(int place) const { return place * dilation + group; }
};

GPU_FUNCTION AxisGroup axis_group(int extent, int group, int dilation) {
  return {group, dilation, group_length(extent, group, dilation)};
}

// The window of one token in terms of tokens: `first`, `first + step`, ...
struct TokenWindow {
  int first;
  int step;
  int relative;  // row (or column) of the bias table for the first neighbour; those of the others follow
};

GPU_FUNCTION TokenWindow token_window(int token, int extent, int kernel, int dilation) {
  const int group = token % dilation, place = token / dilation;
  const int start = window_start(place, group_length(extent, group, dilation), kernel);
  return {group + start * dilation, dilation, start - place + kernel - 1};
}

}  // namespace natdeploy
