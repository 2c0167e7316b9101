#include "png_images.h"

#include "images.h"
#include "problem.h"

#ifdef NATDEPLOY_EXAMPLES_PNG
#include <png.h>

#include <csetjmp>
#include <cstring>
#endif

namespace natdeploy::examples {

#ifndef NATDEPLOY_EXAMPLES_PNG

Image image_from_png(const std::vector<uint8_t>&, const std::string& name) {
  throw Problem("'" + name + "' is a PNG file, and this program was built without PNG: install libpng-dev and build " +
                "it again, or convert the image to PPM.");
}

#else
namespace {

// What libpng works on. Its errors jump back to setjmp over frames of C; whatever C++ destroys lives out here.
struct Png {
  png_structp reader = nullptr;
  png_infop info = nullptr;
  const std::vector<uint8_t>* bytes = nullptr;
  size_t at = 0;
  std::string error;
  std::vector<png_bytep> rows;

  ~Png() { png_destroy_read_struct(&reader, &info, nullptr); }
};

void read_bytes(png_structp reader, png_bytep target, png_size_t count) {
  auto& png = *static_cast<Png*>(png_get_io_ptr(reader));
  if (png.bytes->size() - png.at < count) png_error(reader, "it is cut off");
  std::memcpy(target, png.bytes->data() + png.at, count);
  png.at += count;
}

[[noreturn]] void keep_error(png_structp reader, png_const_charp message) {
  static_cast<Png*>(png_get_error_ptr(reader))->error = message;
  png_longjmp(reader, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

// Reads the head, and asks for 8 bits of grey or RGB. No object with a destructor may live in here.
bool read_head(Png& png, Image& image) {
  if (setjmp(png_jmpbuf(png.reader))) return false;
  png_set_read_fn(png.reader, &png, read_bytes);
  png_set_user_limits(png.reader, kLongestSide, kLongestSide);
  png_read_info(png.reader, png.info);
  const int colour = png_get_color_type(png.reader, png.info);
  png_set_strip_16(png.reader);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png.reader);
  if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png.reader);
  png_set_strip_alpha(png.reader);
  png_set_interlace_handling(png.reader);
  png_read_update_info(png.reader, png.info);
  image.width = static_cast<int>(png_get_image_width(png.reader, png.info));
  image.height = static_cast<int>(png_get_image_height(png.reader, png.info));
  image.channels = png_get_channels(png.reader, png.info);
  return true;
}

bool read_pixels(Png& png) {
  if (setjmp(png_jmpbuf(png.reader))) return false;
  png_read_image(png.reader, png.rows.data());
  return true;
}

}  // namespace

Image image_from_png(const std::vector<uint8_t>& bytes, const std::string& name) {
  const auto refuse = [&name](const std::string& reason) -> void {
    throw Problem("'" + name + "' cannot be read as an image: " + reason + ".");
  };
  Png png;
  png.bytes = &bytes;
  png.reader = png_create_read_struct(PNG_LIBPNG_VER_STRING, &png, keep_error, ignore_warning);
  png.info = png.reader != nullptr ? png_create_info_struct(png.reader) : nullptr;
  if (png.info == nullptr) refuse("libpng cannot be used (" PNG_LIBPNG_VER_STRING " was compiled in)");
  Image image;
  if (!read_head(png, image)) refuse(png.error);
  if (int64_t{image.width} * image.height > kMostPixels) {
    refuse("it has more than " + std::to_string(kMostPixels) + " pixels");
  }
  if (image.channels != 1 && image.channels != 3) refuse("it has " + std::to_string(image.channels) + " channels");
  const size_t row = static_cast<size_t>(image.width) * static_cast<size_t>(image.channels);
  image.pixels.resize(row * static_cast<size_t>(image.height));
  for (size_t y = 0; y < static_cast<size_t>(image.height); ++y) png.rows.push_back(image.pixels.data() + y * row);
  if (!read_pixels(png)) refuse(png.error);
  return image;
}

#endif

}  // namespace natdeploy::examples
