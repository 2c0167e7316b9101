#include "preprocessing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "problem.h"

namespace natdeploy::examples {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Pillow's weights have 22 bits after the point: 8 bits of pixel and 2 bits for sums that overshoot fill an int32.
constexpr int kWeightBits = 22;

double sinc(double x) { return x == 0 ? 1 : std::sin(x * kPi) / (x * kPi); }

// Half the width of a filter, in pixels of the larger of the two images.
double support(Filter filter) {
  switch (filter) {
    case Filter::kBox: return 0.5;
    case Filter::kBicubic: return 2;
    case Filter::kLanczos: return 3;
    default: return 1;
  }
}

double filter_value(Filter filter, double x) {
  if (filter == Filter::kBox) return x > -0.5 && x <= 0.5 ? 1 : 0;
  if (filter == Filter::kLanczos) return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  x = std::abs(x);
  if (x >= support(filter)) return 0;
  if (filter == Filter::kBilinear) return 1 - x;
  // Pillow has the window's two numbers in single precision.
  if (filter == Filter::kHamming) return sinc(x) * (0.54F + static_cast<double>(0.46F) * std::cos(x * kPi));
  constexpr double a = -0.5;  // the cubic with this slope at 1
  return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : (((x - 5) * x + 8) * x - 4) * a;
}

// The source pixels that make up one pixel of the result.
struct Taps {
  int first = 0;
  std::vector<int32_t> weights;
};

// One entry per pixel of the result, along one axis. Where the image shrinks, the filter widens by the same ratio.
std::vector<Taps> taps_along(int source_size, int result_size, Filter filter) {
  const double ratio = static_cast<double>(source_size) / result_size;
  const double width = std::max(ratio, 1.0);
  const double reach = support(filter) * width;
  const double step = 1 / width;  // multiplied by, as Pillow does: a division would round otherwise
  std::vector<Taps> result(static_cast<size_t>(result_size));
  std::vector<double> values;
  for (int i = 0; i < result_size; ++i) {
    const double centre = (i + 0.5) * ratio;
    const int first = std::max(static_cast<int>(centre - reach + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + reach + 0.5), source_size);
    double sum = 0;
    values.clear();
    for (int source = first; source < last; ++source) {
      values.push_back(filter_value(filter, (source - centre + 0.5) * step));
      sum += values.back();
    }
    Taps& taps = result[static_cast<size_t>(i)];
    taps.first = first;
    for (const double value : values) {
      const double scaled = (sum != 0 ? value / sum : value) * (1 << kWeightBits);
      taps.weights.push_back(static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
  }
  return result;
}

uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

Image blank(int height, int width, int channels) {
  const int64_t pixels = static_cast<int64_t>(height) * width;
  if (height < 1 || width < 1 || pixels > kMostPixels) {
    throw Problem("An image would have " + std::to_string(height) + "x" + std::to_string(width) +
                  " pixels on its way into the model, which is more than " + std::to_string(kMostPixels) + ".");
  }
  return {height, width, channels, std::vector<uint8_t>(static_cast<size_t>(pixels) * static_cast<size_t>(channels))};
}

size_t row_bytes(const Image& image) { return static_cast<size_t>(image.width) * static_cast<size_t>(image.channels); }

Image with_width(const Image& image, int width, Filter filter) {
  Image result = blank(image.height, width, image.channels);
  const std::vector<Taps> columns = taps_along(image.width, width, filter);
  const auto channels = static_cast<size_t>(image.channels);
  uint8_t* out = result.pixels.data();
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* row = image.pixels.data() + static_cast<size_t>(y) * row_bytes(image);
    for (const Taps& taps : columns) {
      const uint8_t* first = row + static_cast<size_t>(taps.first) * channels;
      for (size_t c = 0; c < channels; ++c) {
        int32_t sum = 1 << (kWeightBits - 1);
        for (size_t i = 0; i < taps.weights.size(); ++i) sum += taps.weights[i] * first[i * channels + c];
        *out++ = rounded(sum);
      }
    }
  }
  return result;
}

Image with_height(const Image& image, int height, Filter filter) {
  Image result = blank(height, image.width, image.channels);
  const std::vector<Taps> rows = taps_along(image.height, height, filter);
  const size_t stride = row_bytes(image);
  uint8_t* out = result.pixels.data();
  std::vector<int32_t> sums(stride);
  for (const Taps& taps : rows) {
    std::fill(sums.begin(), sums.end(), 1 << (kWeightBits - 1));
    const uint8_t* row = image.pixels.data() + static_cast<size_t>(taps.first) * stride;
    for (const int32_t weight : taps.weights) {
      for (size_t x = 0; x < stride; ++x) sums[x] += weight * row[x];
      row += stride;
    }
    for (const int32_t sum : sums) *out++ = rounded(sum);
  }
  return result;
}

// Where the nearest filter looks. Pillow adds up steps, whose rounding decides ties.
std::vector<size_t> nearest_along(int source_size, int result_size) {
  const double ratio = static_cast<double>(source_size) / result_size;
  std::vector<size_t> result;
  double position = ratio * 0.5;
  for (int i = 0; i < result_size; ++i, position += ratio) {
    result.push_back(std::min(static_cast<size_t>(position), static_cast<size_t>(source_size) - 1));
  }
  return result;
}

Image resized_to_nearest(const Image& image, int height, int width) {
  Image result = blank(height, width, image.channels);
  const std::vector<size_t> columns = nearest_along(image.width, width);
  const auto channels = static_cast<size_t>(image.channels);
  uint8_t* out = result.pixels.data();
  for (const size_t y : nearest_along(image.height, height)) {
    const uint8_t* row = image.pixels.data() + y * row_bytes(image);
    for (const size_t x : columns) out = std::copy_n(row + x * channels, channels, out);
  }
  return result;
}

// Pillow's order, which shows, since what lies between the passes is rounded to 8 bits: columns first, but from Pillow
// 13 on (its pull request 9549) rows first where the height loses more than twice the pixels that the width loses.
Image resized(Image image, int height, int width, Filter filter) {
  if (image.height == height && image.width == width) return image;
  if (filter == Filter::kNearest) return resized_to_nearest(image, height, width);
  const int height_loss = image.height - height;
  const bool rows_first = height_loss > 0 && height_loss > 2 * (image.width - width);
  if (rows_first) image = with_height(image, height, filter);
  if (image.width != width) image = with_width(image, width, filter);
  return image.height != height ? with_height(image, height, filter) : image;
}

// (height, width) after resizing. Before a crop that is not square, the image covers a box of the crop's aspect ratio
// whose shorter edge is resize_edge; the longer edge is truncated, as torchvision does.
std::pair<int, int> resized_size(const Image& image, const Recipe& recipe) {
  if (!recipe.resize_edge) return {recipe.crop_height, recipe.crop_width};
  const int64_t shorter = std::min(recipe.crop_height, recipe.crop_width);
  const int64_t box_height = int64_t{*recipe.resize_edge} * recipe.crop_height / shorter;
  const int64_t box_width = int64_t{*recipe.resize_edge} * recipe.crop_width / shorter;
  const auto in_proportion = [](int64_t edge, int64_t other, int64_t own) {
    const double longer = static_cast<double>(edge * other) / static_cast<double>(own);
    return static_cast<int>(std::clamp(longer, 1.0, 1e9));
  };
  if (image.width * box_height <= image.height * box_width) {
    return {in_proportion(box_width, image.height, image.width), static_cast<int>(box_width)};
  }
  return {static_cast<int>(box_height), in_proportion(box_height, image.width, image.height)};
}

// First row or column of a centre crop; negative, for black before it, where the image is smaller. torchvision rounds
// half an odd rest to the even number, and gives the smaller half of an odd border to the start.
int crop_start(int size, int crop) {
  if (size < crop) return -((crop - size) / 2);
  const int rest = size - crop;
  return rest / 2 + (rest % 4 == 3 ? 1 : 0);
}

Image cropped(const Image& image, int height, int width) {
  Image result = blank(height, width, image.channels);
  const int top = crop_start(image.height, height);
  const int left = crop_start(image.width, width);
  const int first = std::max(0, -left);
  const int last = std::min(width, image.width - left);
  const auto channels = static_cast<size_t>(image.channels);
  for (int y = std::max(0, -top); y < std::min(height, image.height - top); ++y) {
    const uint8_t* from = image.pixels.data() + static_cast<size_t>(y + top) * row_bytes(image);
    uint8_t* to = result.pixels.data() + static_cast<size_t>(y) * row_bytes(result);
    std::memcpy(to + static_cast<size_t>(first) * channels, from + static_cast<size_t>(first + left) * channels,
                static_cast<size_t>(last - first) * channels);
  }
  return result;
}

Image with_channels(const Image& image, int channels) {
  if (image.channels == channels) return image;
  Image result = blank(image.height, image.width, channels);
  const size_t pixels = static_cast<size_t>(image.height) * static_cast<size_t>(image.width);
  for (size_t i = 0; i < pixels; ++i) {
    if (channels == 3) {
      std::fill_n(&result.pixels[3 * i], 3, image.pixels[i]);
    } else {  // brightness of ITU-R 601, in Pillow's 16 bits after the point
      const uint8_t* rgb = &image.pixels[3 * i];
      result.pixels[i] = static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
    }
  }
  return result;
}

}  // namespace

Image pixels_from_image(const Image& image, const Recipe& recipe) {
  Image result = with_channels(image, recipe.channels);
  if (recipe.resize) {
    const auto [height, width] = resized_size(image, recipe);
    result = resized(std::move(result), height, width, recipe.interpolation);
  }
  if (recipe.center_crop) result = cropped(result, recipe.crop_height, recipe.crop_width);
  if (result.height != recipe.crop_height || result.width != recipe.crop_width) {
    throw Problem("An image has " + std::to_string(result.height) + "x" + std::to_string(result.width) +
                  " pixels, the model takes " + std::to_string(recipe.crop_height) + "x" +
                  std::to_string(recipe.crop_width) + ", and its recipe neither resizes nor crops.");
  }
  return result;
}

// In single precision and in this order, as numpy does it; compiled without fused multiply-add, which rounds once less.
void normalise(const Image& pixels, const Recipe& recipe, float* values) {
  const auto scale = static_cast<float>(recipe.value_range / 255);
  const size_t plane = static_cast<size_t>(pixels.height) * static_cast<size_t>(pixels.width);
  const auto channels = static_cast<size_t>(pixels.channels);
  for (size_t c = 0; c < channels; ++c) {
    const auto mean = static_cast<float>(recipe.mean[c]);
    const auto deviation = static_cast<float>(recipe.std[c]);
    for (size_t i = 0; i < plane; ++i) {
      const float scaled = static_cast<float>(pixels.pixels[i * channels + c]) * scale;
      values[c * plane + i] = (scaled - mean) / deviation;
    }
  }
}

size_t input_bytes(const Recipe& recipe) {
  const size_t values = static_cast<size_t>(recipe.crop_height) * static_cast<size_t>(recipe.crop_width) *
                        static_cast<size_t>(recipe.channels);
  return recipe.input_format == InputFormat::kUint8Nhwc ? values : values * sizeof(float);
}

void write_input(const Image& image, const Recipe& recipe, void* input) {
  const Image pixels = pixels_from_image(image, recipe);
  if (recipe.input_format == InputFormat::kUint8Nhwc) {
    std::memcpy(input, pixels.pixels.data(), pixels.pixels.size());
  } else {
    normalise(pixels, recipe, static_cast<float*>(input));
  }
}

}  // namespace natdeploy::examples
