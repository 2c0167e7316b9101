#include "files.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "problem.h"

namespace natdeploy::examples {

void require_file(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw Problem("'" + path + "' cannot be read: " + error.message() + ".");
  if (!std::filesystem::is_regular_file(status)) throw Problem("'" + path + "' is no file.");
}

std::vector<uint8_t> bytes_from_file(const std::string& path, uint64_t most) {
  require_file(path);
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto size = file ? static_cast<int64_t>(file.tellg()) : -1;
  if (size < 0) throw Problem("'" + path + "' cannot be opened.");
  if (static_cast<uint64_t>(size) > most) {
    throw Problem("'" + path + "' has " + std::to_string(size) + " bytes, which is more than " + std::to_string(most) +
                  ": that is not what it should be.");
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), size)) throw Problem("'" + path + "' cannot be read.");
  return bytes;
}

}  // namespace natdeploy::examples
