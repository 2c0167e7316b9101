#include "pretended_tensorrt.h"

#include <NvInferRuntime.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "failing_memory.h"

static_assert(NV_TENSORRT_MAJOR == 11, "TensorRT 11's layout comes from its headers: compile with those");

namespace pretended_tensorrt {
namespace {

using Creator = nvinfer1::IPluginCreatorInterface;

std::mutex mutex;
std::string messages;
std::vector<Creator*> creators;
Finder finder_behaviour = Finder::kFinds;

void add_message(int32_t severity, const char* message) {
  const std::lock_guard lock(mutex);
  const int64_t left = std::exchange(allocations_left, -1);  // a message is never lost
  messages += std::to_string(severity) + " " + message + "\n";
  allocations_left = left;
}

bool add_creator(Creator& creator, const char* plugin_namespace) {
  if (std::string(plugin_namespace) != "natdeploy") std::abort();
  creators.push_back(&creator);
  return true;
}

bool remove_creator(const Creator& creator) { return std::erase(creators, &creator) == 1; }

template <class Logger>
Logger* found(Logger& logger) {
  if (finder_behaviour == Finder::kThrows) throw std::runtime_error("the finder throws");
  return finder_behaviour == Finder::kFinds ? &logger : nullptr;
}

class Logger11 final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    add_message(static_cast<int32_t>(severity), message);
  }
};

class Finder11 final : public nvinfer1::ILoggerFinder {
 public:
  nvinfer1::ILogger* findLogger() override {
    static Logger11 logger;
    return found(logger);
  }
};

class Registry11 final : public nvinfer1::IPluginRegistry {
 public:
  void setErrorRecorder(nvinfer1::IErrorRecorder*) noexcept override { std::abort(); }
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { std::abort(); }
  bool isParentSearchEnabled() const override { std::abort(); }
  void setParentSearchEnabled(bool) override { std::abort(); }
  PluginLibraryHandle loadLibrary(const char*) noexcept override { std::abort(); }
  void deregisterLibrary(PluginLibraryHandle) noexcept override { std::abort(); }
  bool registerCreator(Creator& creator, const char* space) noexcept override { return add_creator(creator, space); }
  Creator* const* getAllCreators(int32_t*) const noexcept override { std::abort(); }
  Creator* getCreator(const char*, const char*, const char*) noexcept override { std::abort(); }
  bool deregisterCreator(const Creator& creator) noexcept override { return remove_creator(creator); }
  nvinfer1::IPluginResource* acquirePluginResource(const char*, nvinfer1::IPluginResource*) noexcept override {
    std::abort();
  }
  int32_t releasePluginResource(const char*) noexcept override { std::abort(); }
  Creator* const* getAllCreatorsRecursive(int32_t*) noexcept override { std::abort(); }
};

// TensorRT 10, in the order of the virtual functions in 10.3's headers: no versioned base, and the registry still has
// the four functions for IPluginCreator.
class Logger10 {
 public:
  virtual void log(int32_t severity, const char* message) noexcept { add_message(severity, message); }
  virtual ~Logger10() = default;
};

class Finder10 {
 public:
  virtual Logger10* findLogger() {
    static Logger10 logger;
    return found(logger);
  }
  virtual ~Finder10() = default;
};

class Registry10 {
 public:
  virtual bool registerCreator(void*, const char*) noexcept { std::abort(); }
  virtual void* getPluginCreatorList(int32_t*) const noexcept { std::abort(); }
  virtual void* getPluginCreator(const char*, const char*, const char*) noexcept { std::abort(); }
  virtual ~Registry10() noexcept = default;
  virtual void setErrorRecorder(void*) noexcept { std::abort(); }
  virtual void* getErrorRecorder() const noexcept { std::abort(); }
  virtual bool deregisterCreator(const void*) noexcept { std::abort(); }
  virtual bool isParentSearchEnabled() const { std::abort(); }
  virtual void setParentSearchEnabled(bool) { std::abort(); }
  virtual void* loadLibrary(const char*) noexcept { std::abort(); }
  virtual void deregisterLibrary(void*) noexcept { std::abort(); }
  virtual bool registerCreatorInterface(Creator& creator, const char* space) noexcept {
    return add_creator(creator, space);
  }
  virtual void* getAllCreators(int32_t*) const noexcept { std::abort(); }
  virtual void* getCreator(const char*, const char*, const char*) noexcept { std::abort(); }
  virtual bool deregisterCreatorInterface(const Creator& creator) noexcept { return remove_creator(creator); }
};

// Of a TensorRT that nobody knows yet.
class Untouchable {
 public:
  virtual void first() { std::abort(); }
  virtual void second() { std::abort(); }
  virtual void third() { std::abort(); }
  virtual void fourth() { std::abort(); }
  virtual ~Untouchable() = default;
};

Untouchable untouchable;

bool is_11() { return major() == 11 || major() == 1; }

}  // namespace

int major() {
  const char* wish = std::getenv("PRETENDED_TENSORRT_MAJOR");
  return wish == nullptr ? 11 : std::atoi(wish);
}

void* logger_finder() {
  static Finder11 finder_11;
  static Finder10 finder_10;
  if (is_11()) return static_cast<nvinfer1::ILoggerFinder*>(&finder_11);
  return major() == 10 ? static_cast<void*>(&finder_10) : &untouchable;
}

void set_finder(Finder behaviour) { finder_behaviour = behaviour; }

std::string take_log() {
  const std::lock_guard lock(mutex);
  return std::exchange(messages, {});
}

std::vector<std::string> registered() {
  std::vector<std::string> names;
  for (const Creator* creator : creators) {
    names.emplace_back(static_cast<const nvinfer1::IPluginCreatorV3One*>(creator)->getPluginName());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace pretended_tensorrt

// Found by the library through dlsym: the program is linked with -rdynamic.
extern "C" int32_t getInferLibMajorVersion() noexcept { return pretended_tensorrt::major(); }

extern "C" nvinfer1::IPluginRegistry* getPluginRegistry() noexcept {
  using namespace pretended_tensorrt;
  static Registry11 registry_11;
  static Registry10 registry_10;
  if (is_11()) return &registry_11;
  // Only passed on to the library, which knows what it is by the major version.
  return major() == 10 ? reinterpret_cast<nvinfer1::IPluginRegistry*>(&registry_10)
                       : reinterpret_cast<nvinfer1::IPluginRegistry*>(&untouchable);
}
