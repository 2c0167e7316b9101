// One sentence to TensorRT's logger, or to stderr where there is none.
#pragma once

#include <string_view>

namespace natdeploy::trt {

// `finder` is the ILoggerFinder of a TensorRT whose interfaces are laid out as `major` says (tensorrt_abi.h).
void use_logger_finder(void* finder, int major) noexcept;

// "natdeploy: OP: METHOD: MESSAGE", cut at 1000 bytes; allocates nothing.
void log_error(std::string_view op, const char* method, const char* message) noexcept;

}  // namespace natdeploy::trt
