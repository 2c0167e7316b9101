// How a method of the plugin refuses: it throws, `guarded` logs the sentence and gives TensorRT a non-zero code.
#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tensorrt/logging.h"

namespace natdeploy::trt {

class Refusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr int32_t kDone = 0;
inline constexpr int32_t kRefused = 1;

// One sentence of many.
inline std::string joined(const std::vector<std::string>& reasons) {
  std::string text;
  for (const std::string& reason : reasons) text += (text.empty() ? "" : "; ") + reason;
  return text;
}

inline void refuse_if_any(const std::vector<std::string>& reasons) {
  if (!reasons.empty()) throw Refusal(joined(reasons));
}

// Runs a method's body. No exception may reach TensorRT, whose interfaces are noexcept: it would end the process.
template <typename Result, typename Body>
Result guarded(std::string_view op, const char* method, Result on_refusal, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    log_error(op, method, error.what());
  } catch (...) {
    log_error(op, method, "an unknown exception");
  }
  return on_refusal;
}

}  // namespace natdeploy::trt
