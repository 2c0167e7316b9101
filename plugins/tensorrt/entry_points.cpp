// The three functions that this library exports. TensorRT's loadLibrary calls setLoggerFinder and then getCreators, and
// fails where either is missing; natdeploy_manifest is for everybody else.
#include <NvInferRuntime.h>

#include <cstdint>

#include "tensorrt/include/natdeploy/tensorrt_plugin.h"
#include "tensorrt/logging.h"
#include "tensorrt/manifest.h"
#include "tensorrt/registration.h"

#define NATDEPLOY_EXPORT extern "C" __attribute__((visibility("default")))

NATDEPLOY_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept {
  const auto& creators = natdeploy::trt::creators();
  count = static_cast<int32_t>(creators.size());
  return creators.data();
}

// The caller is TensorRT itself: which one decides how its logger is laid out (tensorrt_abi.h).
NATDEPLOY_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
  const int major = natdeploy::trt::yield_to_loader(__builtin_return_address(0));
  natdeploy::trt::use_logger_finder(finder, major);
}

NATDEPLOY_EXPORT const char* natdeploy_manifest(void) noexcept { return natdeploy::trt::manifest(); }
