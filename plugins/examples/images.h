// Reads PPM and PGM (P5, P6), and PNG where the build found libpng (NATDEPLOY_EXAMPLES_PNG), as Pillow would.
#pragma once

#include <string>
#include <vector>

#include "preprocessing.h"

namespace natdeploy::examples {

// Longer sides are refused: nobody photographs them, and filters need memory in proportion to them.
inline constexpr int kLongestSide = 1 << 20;

// Decodes one file to 8 bits per channel, grey or RGB. Transparency is dropped; of 16-bit channels the high byte stays.
Image image_from_file(const std::string& path);

// The same from memory; `name` is for messages.
Image image_from_bytes(const std::vector<uint8_t>& bytes, const std::string& name);

}  // namespace natdeploy::examples
