// Classifies images with ONNX Runtime and a file that `natdeploy export` wrote, in its hybrid or portable form:
//
//   classify_onnxruntime model.onnx cat.ppm dog.png
//
// The file brings its preprocessing and labels, and attention as functions of standard ONNX: nothing of natdeploy is
// needed here, and nothing but ONNX Runtime 1.18 or newer to link with.
#include <onnxruntime_cxx_api.h>

#include <chrono>
#include <string>
#include <vector>

#include "application.h"
#include "files.h"
#include "metadata.h"
#include "problem.h"

namespace {

using namespace natdeploy::examples;

constexpr char kUsage[] = "usage: classify_onnxruntime MODEL.onnx IMAGE... [--top N] [--repeat N]";
constexpr char kInput[] = "pixel_values";
constexpr char kOutput[] = "logits";

Metadata metadata_from(const Ort::Session& session, const std::string& path) {
  Ort::AllocatorWithDefaultOptions allocator;
  const Ort::ModelMetadata properties = session.GetModelMetadata();
  const Ort::AllocatedStringPtr text = properties.LookupCustomMetadataMapAllocated("natdeploy", allocator);
  return metadata_from_json(text ? text.get() : "{}", path);
}

std::vector<int64_t> input_shape(const Recipe& recipe, size_t batch) {
  const auto images = static_cast<int64_t>(batch);
  if (recipe.input_format == InputFormat::kUint8Nhwc) {
    return {images, recipe.crop_height, recipe.crop_width, recipe.channels};
  }
  return {images, recipe.channels, recipe.crop_height, recipe.crop_width};
}

size_t classes_of(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  for (size_t i = 0; i < session.GetOutputCount(); ++i) {
    if (session.GetOutputNameAllocated(i, allocator).get() != std::string(kOutput)) continue;
    const Ort::TypeInfo type = session.GetOutputTypeInfo(i);
    const std::vector<int64_t> shape = type.GetTensorTypeAndShapeInfo().GetShape();
    if (shape.size() == 2 && shape[1] > 0) return static_cast<size_t>(shape[1]);
  }
  throw Problem("The file has no output 'logits' of one number per class.");
}

void classify(const Options& options) {
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "natdeploy");
  require_file(options.artifact);
  Ort::Session session(env, options.artifact.c_str(), Ort::SessionOptions());
  const Metadata metadata = metadata_from(session, options.artifact);

  // A file of any batch takes all images at once.
  const size_t batch = metadata.batch ? static_cast<size_t>(*metadata.batch) : options.images.size();
  const size_t bytes = batch * input_bytes(metadata.recipe);
  std::vector<float> storage(bytes / sizeof(float) + 1);
  const std::vector<int64_t> shape = input_shape(metadata.recipe, batch);
  const bool is_uint8 = metadata.recipe.input_format == InputFormat::kUint8Nhwc;
  const auto type = is_uint8 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
  const Ort::Value input = Ort::Value::CreateTensor(memory, storage.data(), bytes, shape.data(), shape.size(), type);

  // Every run reads and writes the same memory.
  const size_t classes = classes_of(session);
  const char* const inputs[] = {kInput};
  const char* const outputs[] = {kOutput};
  std::vector<float> logits(batch * classes);
  const int64_t logits_shape[] = {static_cast<int64_t>(batch), static_cast<int64_t>(classes)};
  Ort::Value output = Ort::Value::CreateTensor<float>(memory, logits.data(), logits.size(), logits_shape, 2);
  const auto run = [&] { session.Run(Ort::RunOptions(), inputs, &input, 1, outputs, &output, 1); };
  const auto timed = [&] {
    using Clock = std::chrono::steady_clock;
    std::vector<double> milliseconds;
    for (int i = 0; i < options.repeat; ++i) {
      const Clock::time_point start = Clock::now();
      run();
      milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
    print_latency(milliseconds, batch, "the CPU's clock, without preprocessing");
  };
  classify_batches(options, metadata, {batch, classes, storage.data(), logits.data(), run, timed});
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, kUsage, classify); }
