// Classifies images with a plan that `natdeploy build-engine` wrote:
//
//   classify model.plan --plugin libnatdeploy_trt.so cat.ppm dog.png
//
// The plan's sidecar, model.plan.json, brings preprocessing and labels. Compiled and linked with TensorRT 10.x or 11.x,
// or, with -DNATDEPLOY_EXAMPLES_TENSORRT_RTX, with TensorRT for RTX; a plan runs on the version that built it.
#include <NvInferRuntime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "application.h"
#include "cuda_resources.h"
#include "plan.h"
#include "problem.h"

namespace {

using namespace natdeploy::examples;

constexpr char kUsage[] =
    "usage: classify MODEL.plan [--plugin libnatdeploy_trt.so] IMAGE... [--top N] [--repeat N] [--allow-host-code]";
constexpr char kInput[] = "pixel_values";
constexpr char kOutput[] = "logits";

Backend linked_backend() {
#ifdef NATDEPLOY_EXAMPLES_TENSORRT_RTX
  Backend backend{"tensorrt-rtx", "TensorRT for RTX", NV_TENSORRT_MAJOR, ""};
#else
  Backend backend{"tensorrt", "TensorRT", NV_TENSORRT_MAJOR, ""};
#endif
  for (const int32_t part : {getInferLibMajorVersion(), getInferLibMinorVersion(), getInferLibPatchVersion(),
                             getInferLibBuildVersion()}) {
    backend.version += (backend.version.empty() ? "" : ".") + std::to_string(part);
  }
  return backend;
}

// Keeps what TensorRT says of errors: its functions return null or false, and the reason is here.
class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR) return;
    const std::lock_guard<std::mutex> lock(mutex_);  // TensorRT calls this from several threads
    try {
      errors_ += (errors_.empty() ? "" : "; ") + std::string(message);
    } catch (const std::bad_alloc&) {
      return;
    }
  }

  Problem problem(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Problem(what + (errors_.empty() ? "." : ": " + errors_ + "."));
  }

 private:
  std::mutex mutex_;
  std::string errors_;
};

// One for the process, and never destroyed: TensorRT keeps the first that it is given, whoever made it.
Logger& logger() {
  static auto* const instance = new Logger;
  return *instance;
}

size_t bytes_per_value(nvinfer1::DataType type) {
  using nvinfer1::DataType;
  switch (type) {
    case DataType::kINT64: return 8;
    case DataType::kFLOAT:
    case DataType::kINT32: return 4;
    case DataType::kHALF:
    case DataType::kBF16: return 2;
    default: return 1;
  }
}

// An engine that is ready to run one batch after the other: shapes set, memory bound, the work recorded as a graph.
class Classifier {
 public:
  Classifier(const Plan& plan, const std::string& plugin, bool allow_host_code, size_t images)
      : recipe_(plan.sidecar.metadata.recipe) {
    runtime_.reset(nvinfer1::createInferRuntime(logger()));
    if (!runtime_) throw logger().problem("TensorRT cannot be used here");
    runtime_->setEngineHostCodeAllowed(allow_host_code);
    if (!plugin.empty() && getPluginRegistry()->loadLibrary(plugin.c_str()) == nullptr) {
      throw logger().problem("TensorRT cannot load the plugin library '" + plugin + "'");
    }
    engine_.reset(runtime_->deserializeCudaEngine(plan.bytes.data(), plan.bytes.size()));
    if (!engine_) throw logger().problem("TensorRT cannot load the plan");
    make_context();
    set_input_shape(images);
    bind_memory();
    // TensorRT finishes what it put off when shapes changed in the first run, which must not be recorded.
    enqueue();
    stream_.wait();
#ifdef NATDEPLOY_EXAMPLES_TENSORRT_RTX
    if (!context_->isStreamCapturable(stream_.get())) throw Problem("This plan cannot be recorded as a CUDA graph.");
#endif
    graph_ = std::make_unique<Graph>(stream_, [this] { enqueue(); });
  }

  size_t batch() const { return batch_; }
  size_t classes() const { return classes_; }
  void* input() const { return input_->get(); }                                      // of the next run
  const float* logits() const { return static_cast<const float*>(logits_->get()); }  // of the last one

  void run() {
    graph_->launch(stream_);
    stream_.wait();
  }

 private:
  void make_context() {
#ifdef NATDEPLOY_EXAMPLES_TENSORRT_RTX
    // By default, kernels for the actual shapes are compiled in the background while others run that fit any: a graph
    // would keep those.
    config_.reset(engine_->createRuntimeConfig());
    if (!config_) throw logger().problem("TensorRT cannot be configured");
    config_->setDynamicShapesKernelSpecializationStrategy(nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    context_.reset(engine_->createExecutionContext(config_.get()));
#else
    context_.reset(engine_->createExecutionContext());
#endif
    if (!context_) throw logger().problem("TensorRT cannot make an execution context");
  }

  // As many images as there are, within what the plan's profile allows.
  void set_input_shape(size_t images) {
    const bool is_uint8 = recipe_.input_format == InputFormat::kUint8Nhwc;
    const nvinfer1::DataType type = is_uint8 ? nvinfer1::DataType::kUINT8 : nvinfer1::DataType::kFLOAT;
    if (engine_->getTensorIOMode(kInput) != nvinfer1::TensorIOMode::kINPUT ||
        engine_->getTensorDataType(kInput) != type) {
      throw Problem("The plan has no input 'pixel_values' of the type that its sidecar says.");
    }
    nvinfer1::Dims shape = engine_->getTensorShape(kInput);
    if (shape.nbDims != 4) throw Problem("The plan's input 'pixel_values' has not four dimensions.");
    if (shape.d[0] < 0) {
      const int64_t least = engine_->getProfileShape(kInput, 0, nvinfer1::OptProfileSelector::kMIN).d[0];
      const int64_t most = engine_->getProfileShape(kInput, 0, nvinfer1::OptProfileSelector::kMAX).d[0];
      shape.d[0] = std::clamp(static_cast<int64_t>(images), least, std::max(least, most));
    }
    if (shape.d[0] < 1) throw Problem("The plan takes no images at all: its batch is 0.");
    batch_ = static_cast<size_t>(shape.d[0]);
    shape.d[is_uint8 ? 3 : 1] = recipe_.channels;
    shape.d[is_uint8 ? 1 : 2] = recipe_.crop_height;
    shape.d[is_uint8 ? 2 : 3] = recipe_.crop_width;
    if (!context_->setInputShape(kInput, shape)) {
      throw logger().problem("The plan does not take images of " + std::to_string(recipe_.crop_height) + "x" +
                            std::to_string(recipe_.crop_width));
    }
  }

  // Gives every input and output its memory. Addresses stay as they are: the graph has them in it.
  void bind_memory() {
    for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
      const std::string name = engine_->getIOTensorName(i);
      const nvinfer1::Dims shape = context_->getTensorShape(name.c_str());
      size_t bytes = bytes_per_value(engine_->getTensorDataType(name.c_str()));
      for (int32_t axis = 0; axis < shape.nbDims; ++axis) {
        if (shape.d[axis] < 0) throw Problem("The size of '" + name + "' depends on more than the image.");
        bytes *= static_cast<size_t>(shape.d[axis]);
      }
      const auto memory = on_gpu_.try_emplace(name, std::max<size_t>(bytes, 1)).first;
      if (!context_->setTensorAddress(name.c_str(), memory->second.get())) {
        throw logger().problem("TensorRT refuses memory for '" + name + "'");
      }
      const bool is_float = engine_->getTensorDataType(name.c_str()) == nvinfer1::DataType::kFLOAT;
      const bool is_of_batch = shape.nbDims == 2 && shape.d[0] == static_cast<int64_t>(batch_);
      if (name == kOutput && is_float && is_of_batch) classes_ = static_cast<size_t>(shape.d[1]);
    }
    if (classes_ == 0) throw Problem("The plan has no float32 output 'logits' of one number per class.");
    input_ = std::make_unique<PinnedMemory>(batch_ * input_bytes(recipe_));
    logits_ = std::make_unique<PinnedMemory>(batch_ * classes_ * sizeof(float));
    std::fill_n(static_cast<char*>(input_->get()), batch_ * input_bytes(recipe_), char{0});
  }

  // Puts one run on the stream: pictures to the GPU, the engine, logits back.
  void enqueue() {
    void* const pictures = on_gpu_.at(kInput).get();
    const void* const results = on_gpu_.at(kOutput).get();
    const size_t picture_bytes = batch_ * input_bytes(recipe_);
    const size_t result_bytes = batch_ * classes_ * sizeof(float);
    check(cudaMemcpyAsync(pictures, input_->get(), picture_bytes, cudaMemcpyHostToDevice, stream_.get()),
          "copy images to the GPU");
    if (!context_->enqueueV3(stream_.get())) throw logger().problem("TensorRT cannot run the plan");
    check(cudaMemcpyAsync(logits_->get(), results, result_bytes, cudaMemcpyDeviceToHost, stream_.get()),
          "copy logits from the GPU");
  }

  // Destroyed from the last to the first: TensorRT wants the context gone before the engine, that before the runtime.
  Recipe recipe_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
#ifdef NATDEPLOY_EXAMPLES_TENSORRT_RTX
  std::unique_ptr<nvinfer1::IRuntimeConfig> config_;
#endif
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  Stream stream_;
  std::map<std::string, DeviceMemory> on_gpu_;  // by the tensor's name
  std::unique_ptr<PinnedMemory> input_;
  std::unique_ptr<PinnedMemory> logits_;
  std::unique_ptr<Graph> graph_;
  size_t batch_ = 0;
  size_t classes_ = 0;
};

void classify(const Options& options) {
  const Plan plan = plan_from_file(options.artifact, linked_backend());
  check_host_code(plan, options.artifact, options.allow_host_code);
  const std::string plugin = plugin_path(plan.sidecar.engine, options.plugin);
  check_gpu(plan.sidecar.engine, compute_capability());
  Classifier classifier(plan, plugin, options.allow_host_code, options.images.size());
  const auto run = [&] { classifier.run(); };
  const auto timed = [&] {
    using Clock = std::chrono::steady_clock;
    std::vector<double> milliseconds;
    for (int i = 0; i < options.repeat; ++i) {
      const Clock::time_point start = Clock::now();
      classifier.run();
      milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
    print_latency(milliseconds, classifier.batch(), "the CPU's clock, copies to and from the GPU included");
  };
  classify_batches(options, plan.sidecar.metadata,
                   {classifier.batch(), classifier.classes(), classifier.input(), classifier.logits(), run, timed});
}

}  // namespace

int main(int argc, char** argv) { return run_program(argc, argv, kUsage, classify); }
