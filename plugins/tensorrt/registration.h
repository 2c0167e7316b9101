// Registering the creators on load, for the many programs that only dlopen a plugin library: Polygraphy, Triton,
// DeepStream, ONNX Runtime, trtexec --staticPlugins. loadLibrary registers by itself, and fails where that is done
// already: so setLoggerFinder, its first call, takes the registration back.
#pragma once

#include <NvInferRuntime.h>

#include <array>

namespace natdeploy::trt {

inline constexpr int kCreators = 2;

// One per op type; they live until the library is unloaded.
const std::array<nvinfer1::IPluginCreatorInterface*, kCreators>& creators();

// Takes back what was registered on load in the registry of the TensorRT whose code holds `caller`, and gives that
// TensorRT's major version: 0 where it cannot be found out; every registration is taken back then.
int yield_to_loader(const void* caller) noexcept;

}  // namespace natdeploy::trt
