// From a decoded image to what the model takes, number for number as natdeploy/preprocessing.py does it with Pillow.
//
// Copy this file, preprocessing.cpp and problem.h: they need nothing but C++17.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace natdeploy::examples {

// Rows from the top, channels beside each other: [height, width, channels]. Three channels are RGB, one is grey.
struct Image {
  int height = 0;
  int width = 0;
  int channels = 0;
  std::vector<uint8_t> pixels;
};

// More pixels than this are refused: in an image, where Pillow draws the same line, and in what it is resized to.
inline constexpr int64_t kMostPixels = 178'956'970;

enum class Filter { kNearest, kBox, kBilinear, kHamming, kBicubic, kLanczos };

enum class InputFormat {
  kFloat32Nchw,  // normalised
  kUint8Nhwc,    // the pixels after the crop: the file itself normalises them
};

// How images become `pixel_values`; docs/metadata.md explains every field under `preprocessing`.
struct Recipe {
  int crop_height = 0;
  int crop_width = 0;
  std::optional<int> resize_edge;
  Filter interpolation = Filter::kBicubic;
  bool resize = true;
  bool center_crop = true;
  int channels = 3;
  double value_range = 1.0;
  std::vector<double> mean;
  std::vector<double> std;
  InputFormat input_format = InputFormat::kFloat32Nchw;
};

// Converts to the recipe's channels, resizes and crops: [crop_height, crop_width, channels].
Image pixels_from_image(const Image& image, const Recipe& recipe);

// Scales and normalises pixels; `values` is [channels, height, width].
void normalise(const Image& pixels, const Recipe& recipe, float* values);

// Bytes that one image takes in the model's input.
size_t input_bytes(const Recipe& recipe);

// Both steps, or the first alone where the file normalises by itself; `input` has room for input_bytes(recipe).
void write_input(const Image& image, const Recipe& recipe, void* input);

}  // namespace natdeploy::examples
