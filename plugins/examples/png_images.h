// PNG by libpng; without it (no NATDEPLOY_EXAMPLES_PNG), every PNG file is refused with the reason.
#pragma once

#include <string>
#include <vector>

#include "preprocessing.h"

namespace natdeploy::examples {

Image image_from_png(const std::vector<uint8_t>& bytes, const std::string& name);

}  // namespace natdeploy::examples
