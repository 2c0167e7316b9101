// Reading files whole, with sentences for what can be wrong with them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace natdeploy::examples {

// Refuses what is not there, and what is no file: opening a named pipe would wait for ever.
void require_file(const std::string& path);

// A whole file of not more than `most` bytes.
std::vector<uint8_t> bytes_from_file(const std::string& path, uint64_t most);

}  // namespace natdeploy::examples
