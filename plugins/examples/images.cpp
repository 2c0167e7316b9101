#include "images.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "files.h"
#include "png_images.h"
#include "problem.h"

namespace natdeploy::examples {
namespace {

constexpr uint64_t kLargestFile = uint64_t{1} << 31;

[[noreturn]] void refuse(const std::string& name, const std::string& reason) {
  throw Problem("'" + name + "' cannot be read as an image: " + reason + ".");
}

// The head of a PNM file: numbers between white space and comments, then one white space, then the pixels.
class PnmHead {
 public:
  PnmHead(const std::vector<uint8_t>& bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  int number(const char* what, int most) {
    skip_space();
    int value = 0;
    size_t digits = 0;
    for (; at_ < bytes_.size() && bytes_[at_] >= '0' && bytes_[at_] <= '9'; ++at_, ++digits) {
      value = value * 10 + (bytes_[at_] - '0');
      if (value > most) refuse(name_, std::string("its ") + what + " is larger than " + std::to_string(most));
    }
    if (digits == 0 || value == 0) refuse(name_, std::string("its head has no ") + what);
    return value;
  }

  size_t start_of_pixels() {
    if (at_ == bytes_.size() || !is_space(bytes_[at_])) refuse(name_, "its head does not end before its pixels");
    return at_ + 1;
  }

 private:
  static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

  void skip_space() {
    for (; at_ < bytes_.size() && (is_space(bytes_[at_]) || bytes_[at_] == '#'); ++at_) {
      if (bytes_[at_] != '#') continue;
      while (at_ < bytes_.size() && bytes_[at_] != '\n' && bytes_[at_] != '\r') ++at_;
      if (at_ == bytes_.size()) return;
    }
  }

  const std::vector<uint8_t>& bytes_;
  const std::string& name_;
  size_t at_ = 2;  // after P5 or P6
};

// What each value of a file becomes. Pillow brings 16-bit grey to 16 bits, of which the high byte is taken, and all
// else to 8 bits at once; halves go to the even number.
std::vector<uint8_t> eight_bits_of(int largest, bool grey) {
  const bool high_byte = grey && largest > 255;
  const int most = high_byte ? 65535 : 255;
  std::vector<uint8_t> result;
  for (int value = 0; value <= (largest > 255 ? 65535 : 255); ++value) {
    const int scaled = std::min(static_cast<int>(std::nearbyint(static_cast<double>(value) / largest * most)), most);
    result.push_back(static_cast<uint8_t>(high_byte ? scaled >> 8 : scaled));
  }
  return result;
}

Image image_from_pnm(const std::vector<uint8_t>& bytes, const std::string& name) {
  PnmHead head(bytes, name);
  Image image;
  image.width = head.number("width", kLongestSide);
  image.height = head.number("height", kLongestSide);
  if (int64_t{image.width} * image.height > kMostPixels) {
    refuse(name, "it has more than " + std::to_string(kMostPixels) + " pixels");
  }
  const int largest = head.number("largest value", 65535);
  const size_t start = head.start_of_pixels();
  image.channels = bytes[1] == '5' ? 1 : 3;
  const size_t values = static_cast<size_t>(image.width) * static_cast<size_t>(image.height) *
                        static_cast<size_t>(image.channels);
  const size_t value_bytes = largest > 255 ? 2 : 1;
  if ((bytes.size() - start) / value_bytes < values) {
    refuse(name, "it is cut off: " + std::to_string(values * value_bytes) + " bytes of pixels are needed, " +
                     std::to_string(bytes.size() - start) + " are there");
  }
  const std::vector<uint8_t> table = eight_bits_of(largest, image.channels == 1);
  image.pixels.resize(values);
  const uint8_t* from = bytes.data() + start;
  for (uint8_t& pixel : image.pixels) {  // two bytes are big-endian
    pixel = table[value_bytes == 2 ? static_cast<size_t>(from[0] << 8 | from[1]) : from[0]];
    from += value_bytes;
  }
  return image;
}

}  // namespace

Image image_from_bytes(const std::vector<uint8_t>& bytes, const std::string& name) {
  constexpr uint8_t kPng[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  if (bytes.size() >= sizeof kPng && std::memcmp(bytes.data(), kPng, sizeof kPng) == 0) {
    return image_from_png(bytes, name);
  }
  if (bytes.size() >= 2 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6')) return image_from_pnm(bytes, name);
  refuse(name, "it is neither a PPM or PGM file (P6, P5) nor PNG; `convert PHOTO photo.ppm` makes one of most others");
}

Image image_from_file(const std::string& path) { return image_from_bytes(bytes_from_file(path, kLargestFile), path); }

}  // namespace natdeploy::examples
