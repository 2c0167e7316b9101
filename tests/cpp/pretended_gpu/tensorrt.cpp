// The part of libnvinfer that plugins/examples/classify.cpp calls. A plan here is a head and the weights of one matrix:
// logits = weights * pixel_values. unused.h, made from TensorRT's headers, ends the program in every other function.
#include <NvInferRuntime.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda.h"
#include "unused.h"

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::TensorIOMode;

constexpr const char* kNames[] = {"pooled", "logits", "pixel_values"};  // an output that nobody asked for comes first
constexpr int64_t kPooled = 3;

struct Head {
  char magic[8];
  int32_t least;  // of the batch
  int32_t most;
  int32_t shape[3];  // of one image, as the input has it
  int32_t classes;
  int32_t is_uint8;
  int32_t needs_plugin;  // 2: and carries it
};

struct Network {
  Head head;
  std::vector<float> weights;  // [classes, values]
  size_t values() const { return weights.size() / static_cast<size_t>(head.classes); }
};

nvinfer1::ILogger* logger = nullptr;
bool plugin_loaded = false;

bool refuse(const char* why) {
  logger->log(nvinfer1::ILogger::Severity::kWARNING, "a warning that nobody needs");
  logger->log(nvinfer1::ILogger::Severity::kERROR, why);
  return false;
}

Dims shape_of(const Network& network, const std::string& name, int64_t batch) {
  const int32_t* size = network.head.shape;
  if (name == "pixel_values") return {4, {batch, size[0], size[1], size[2]}};
  return {2, {batch, name == "logits" ? network.head.classes : kPooled}};
}

void multiply(const Network& network, size_t batch, const void* images, float* logits) {
  const auto classes = static_cast<size_t>(network.head.classes);
  for (size_t n = 0; n < batch; ++n) {
    for (size_t k = 0; k < classes; ++k) {
      double sum = 0;
      for (size_t i = 0; i < network.values(); ++i) {
        const size_t at = n * network.values() + i;
        const double value = network.head.is_uint8 ? static_cast<const uint8_t*>(images)[at]
                                                   : static_cast<const float*>(images)[at];
        sum += network.weights[k * network.values() + i] * value;
      }
      logits[n * classes + k] = static_cast<float>(sum);
    }
  }
}

class ContextCalls : public nvinfer1::apiv::UnusedVExecutionContext {
 public:
  ContextCalls(std::shared_ptr<const Network> network, bool is_eager)
      : network_(std::move(network)), is_eager_(is_eager) {}

#ifdef NATDEPLOY_EXAMPLES_TENSORRT_RTX
  bool isStreamCapturable(cudaStream_t) const noexcept override { return settled_; }
#endif
  bool setInputShape(const char* name, const Dims& dims) noexcept override {
    const Dims any = shape_of(*network_, name, dims.d[0]);
    if (std::memcmp(any.d, dims.d, sizeof any.d[0] * 4) != 0) return refuse("the shape is outside the profile");
    if (dims.d[0] < network_->head.least || dims.d[0] > network_->head.most) return refuse("the batch is too large");
    batch_ = dims.d[0];
    settled_ = false;
    return true;
  }
  Dims getTensorShape(const char* name) const noexcept override { return shape_of(*network_, name, batch_); }
  bool setTensorAddress(const char* name, void* data) noexcept override {
    addresses_[name] = data;
    return true;
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    for (const char* name : kNames) {
      if (addresses_[name] == nullptr) return refuse("a tensor has no address");
    }
    if (batch_ == 0) return refuse("the input has no shape");
    if (stream->capturing && !settled_) return refuse("shapes changed, and the first run is recorded");
    if (stream->capturing && !is_eager_) return refuse("kernels that fit any shape are recorded");
    settled_ = true;
    const auto batch = static_cast<size_t>(batch_);
    pretended::submit(stream, [=, network = network_, addresses = addresses_](cudaStream_t) {
      const size_t bytes = network->values() * (network->head.is_uint8 ? 1 : sizeof(float));
      pretended::require_memory(addresses.at("pixel_values"), batch * bytes, false);
      const auto classes = static_cast<size_t>(network->head.classes);
      pretended::require_memory(addresses.at("logits"), batch * classes * sizeof(float), false);
      pretended::require_memory(addresses.at("pooled"), batch * kPooled * sizeof(float), false);
      multiply(*network, batch, addresses.at("pixel_values"), static_cast<float*>(addresses.at("logits")));
    });
    return true;
  }

 private:
  std::shared_ptr<const Network> network_;
  bool is_eager_;  // whether kernels for new shapes are there when the first run is over
  int64_t batch_ = 0;
  bool settled_ = false;
  std::map<std::string, void*> addresses_;
};

// What the caller holds: the class of the headers, which passes everything on to the calls above.
template <class Interface, class Calls>
class Holder : public Interface {
 public:
  template <class... Arguments>
  explicit Holder(Arguments... arguments) : calls_(arguments...) {
    this->mImpl = &calls_;
  }

 private:
  Calls calls_;
};

#ifdef NATDEPLOY_EXAMPLES_TENSORRT_RTX
using Specialization = nvinfer1::DynamicShapesKernelSpecializationStrategy;

class ConfigCalls : public nvinfer1::apiv::UnusedVRuntimeConfig {
 public:
  void setDynamicShapesKernelSpecializationStrategy(Specialization strategy) noexcept override { strategy_ = strategy; }
  Specialization getDynamicShapesKernelSpecializationStrategy() const noexcept override { return strategy_; }

 private:
  Specialization strategy_ = Specialization::kLAZY;
};
#endif

class EngineCalls : public nvinfer1::apiv::UnusedVCudaEngine {
 public:
  explicit EngineCalls(std::shared_ptr<const Network> network) : network_(std::move(network)) {}

  int32_t getNbIOTensors() const noexcept override { return 3; }
  const char* getIOTensorName(int32_t index) const noexcept override { return kNames[index]; }
  TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return name == std::string("pixel_values") ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  DataType getTensorDataType(const char* name) const noexcept override {
    return name == std::string("pixel_values") && network_->head.is_uint8 ? DataType::kUINT8 : DataType::kFLOAT;
  }
  Dims getTensorShape(const char* name) const noexcept override {
    return shape_of(*network_, name, network_->head.least == network_->head.most ? network_->head.least : -1);
  }
  Dims getProfileShape(const char* name, int32_t, nvinfer1::OptProfileSelector select) const noexcept override {
    const bool least = select == nvinfer1::OptProfileSelector::kMIN;
    return shape_of(*network_, name, least ? network_->head.least : network_->head.most);
  }
#ifdef NATDEPLOY_EXAMPLES_TENSORRT_RTX
  nvinfer1::IExecutionContext* createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
    return new Holder<nvinfer1::IExecutionContext, ContextCalls>(network_, false);
  }
  nvinfer1::IRuntimeConfig* createRuntimeConfig() noexcept override {
    return new Holder<nvinfer1::IRuntimeConfig, ConfigCalls>();
  }
  nvinfer1::IExecutionContext* createExecutionContextWithRuntimeConfig(
      nvinfer1::IRuntimeConfig* config) noexcept override {
    const bool is_eager = config->getDynamicShapesKernelSpecializationStrategy() == Specialization::kEAGER;
    return new Holder<nvinfer1::IExecutionContext, ContextCalls>(network_, is_eager);
  }
#else
  nvinfer1::IExecutionContext* createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
    return new Holder<nvinfer1::IExecutionContext, ContextCalls>(network_, true);
  }
#endif

 private:
  std::shared_ptr<const Network> network_;
};

class RuntimeCalls : public nvinfer1::apiv::UnusedVRuntime {
 public:
  void setEngineHostCodeAllowed(bool allowed) noexcept override { host_code_allowed_ = allowed; }
  nvinfer1::ICudaEngine* deserializeCudaEngine(const void* plan, size_t size) noexcept override {
    auto network = std::make_shared<Network>();
    const auto* bytes = static_cast<const char*>(plan);
    if (size >= sizeof network->head) std::memcpy(&network->head, bytes, sizeof network->head);
    if (std::strcmp(network->head.magic, "PRETEND") != 0) {
      refuse("the plan is damaged");
      return nullptr;
    }
    if (network->head.needs_plugin == 2 && !host_code_allowed_) {
      refuse("code of the plan is not allowed");
      return nullptr;
    }
    if (network->head.needs_plugin == 1 && !plugin_loaded) {
      refuse("a plugin is not registered");
      return nullptr;
    }
    network->weights.resize((size - sizeof network->head) / sizeof(float));
    std::memcpy(network->weights.data(), bytes + sizeof network->head, network->weights.size() * sizeof(float));
    return new Holder<nvinfer1::ICudaEngine, EngineCalls>(network);
  }

 private:
  bool host_code_allowed_ = false;
};

class Registry final : public nvinfer1::UnusedIPluginRegistry {
 public:
  PluginLibraryHandle loadLibrary(const char* path) noexcept override {
    pretended::require(path[0] == '/', "the plugin library is not named by an absolute path");
    if (std::string(path).find("foreign") != std::string::npos) {
      refuse("getCreators is missing in the library");
      return nullptr;
    }
    plugin_loaded = true;
    return &plugin_loaded;
  }
};

}  // namespace

extern "C" {

void* createInferRuntime_INTERNAL(void* theirs, int32_t version) noexcept {
  pretended::require(version == NV_TENSORRT_VERSION, "the runtime is made for another version");
  logger = static_cast<nvinfer1::ILogger*>(theirs);
  // The first logger is the process's: it is called after the runtime is gone.
  static const int at_exit = std::atexit([] { refuse("a late word"); });
  pretended::require(at_exit == 0, "no function can be called at the end");
  return static_cast<nvinfer1::IRuntime*>(new Holder<nvinfer1::IRuntime, RuntimeCalls>());
}

nvinfer1::IPluginRegistry* getPluginRegistry() noexcept {
  static Registry registry;
  return &registry;
}

int32_t getInferLibMajorVersion() noexcept {
  const char* wish = std::getenv("PRETENDED_MAJOR");
  return wish != nullptr ? std::atoi(wish) : NV_TENSORRT_MAJOR;
}
int32_t getInferLibMinorVersion() noexcept { return NV_TENSORRT_MINOR; }
int32_t getInferLibPatchVersion() noexcept { return NV_TENSORRT_PATCH; }
int32_t getInferLibBuildVersion() noexcept { return NV_TENSORRT_BUILD; }

}  // extern "C"
