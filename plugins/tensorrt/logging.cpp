#include "tensorrt/logging.h"

#include <cstdint>
#include <cstdio>
#include <mutex>

#include "tensorrt/tensorrt_abi.h"

namespace natdeploy::trt {
namespace {

constexpr int32_t kErrorSeverity = 1;
constexpr size_t kLongestMessage = 1000;

// Where to ask for a logger. The last TensorRT that loaded us wins where two live in one process.
struct Source {
  void* finder = nullptr;
  int layout = 0;
};

std::mutex source_mutex;
Source source;

Source current_source() noexcept {
  const std::lock_guard lock(source_mutex);
  return source;
}

// True when a logger took the message. findLogger gives null where no builder, runtime or parser is at work.
bool log_by(const Source& from, const char* message) {
  if (from.finder == nullptr) return false;
  if (from.layout == abi::kMajor10) {
    abi::Logger10* logger = static_cast<abi::LoggerFinder10*>(from.finder)->find_logger();
    if (logger != nullptr) logger->log(kErrorSeverity, message);
    return logger != nullptr;
  }
  if (from.layout == abi::kMajor11) {
    abi::Logger11* logger = static_cast<abi::LoggerFinder11*>(from.finder)->find_logger();
    if (logger != nullptr) logger->log(kErrorSeverity, message);
    return logger != nullptr;
  }
  return false;
}

}  // namespace

void use_logger_finder(void* finder, int major) noexcept {
  const std::lock_guard lock(source_mutex);
  source = {finder, abi::layout_of(major)};
}

void log_error(std::string_view op, const char* method, const char* message) noexcept {
  char text[kLongestMessage];
  std::snprintf(text, sizeof(text), "natdeploy: %.*s: %s: %s", static_cast<int>(op.size()), op.data(), method, message);
  try {
    if (log_by(current_source(), text)) return;
  } catch (...) {  // a host's logger may throw; the message must not be lost for it
  }
  std::fprintf(stderr, "%s\n", text);
}

}  // namespace natdeploy::trt
