// The three TensorRT interfaces that changed their vtables between 10 and 11, in both layouts.
//
// One binary serves 10.x, 11.x and TensorRT for RTX: what it was compiled against says nothing about what it runs in.
// In 11, ILogger and ILoggerFinder gained a base class (three virtual functions in front), and IPluginRegistry lost the
// four functions that took an IPluginCreator. Calling through the wrong layout crashes. The interfaces that plugins and
// creators implement are the same in both.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>

namespace natdeploy::trt::abi {

inline constexpr int kMajor10 = 10;
inline constexpr int kMajor11 = 11;

// Which layout a library has that calls itself `major`; 0 where it is none of ours. TensorRT for RTX counts from 1.
constexpr int layout_of(int32_t major) { return major == 1 ? kMajor11 : major == 10 || major == 11 ? major : 0; }

// In front of every interface of 11: APILanguage getAPILanguage(), InterfaceInfo getInterfaceInfo(), the destructor.
class Versioned {
 public:
  virtual int32_t api_language() const noexcept = 0;
  virtual nvinfer1::InterfaceInfo interface_info() const noexcept = 0;
  virtual ~Versioned() noexcept = default;
};

class Logger10 {
 public:
  virtual void log(int32_t severity, const char* message) noexcept = 0;
  virtual ~Logger10() = default;
};

class Logger11 : public Versioned {
 public:
  virtual void log(int32_t severity, const char* message) noexcept = 0;
};

class LoggerFinder10 {
 public:
  virtual Logger10* find_logger() = 0;
  virtual ~LoggerFinder10() = default;
};

class LoggerFinder11 : public Versioned {
 public:
  virtual Logger11* find_logger() = 0;
};

using Creator = nvinfer1::IPluginCreatorInterface;

// Slots that we do not call keep their place as `unused`.
class Registry10 {
 public:
  virtual bool unused_register_v2(void*, const char*) noexcept = 0;
  virtual void* unused_list_v2(int32_t*) const noexcept = 0;
  virtual void* unused_get_v2(const char*, const char*, const char*) noexcept = 0;
  virtual ~Registry10() noexcept = default;
  virtual void unused_set_recorder(void*) noexcept = 0;
  virtual void* unused_get_recorder() const noexcept = 0;
  virtual bool unused_deregister_v2(const void*) noexcept = 0;
  virtual bool unused_parent_search() const = 0;
  virtual void unused_set_parent_search(bool) = 0;
  virtual void* unused_load(const char*) noexcept = 0;
  virtual void unused_unload(void*) noexcept = 0;
  virtual bool register_creator(Creator& creator, const char* plugin_namespace) noexcept = 0;
  virtual Creator* const* unused_all(int32_t*) const noexcept = 0;
  virtual Creator* unused_get(const char*, const char*, const char*) noexcept = 0;
  virtual bool deregister_creator(const Creator& creator) noexcept = 0;
};

class Registry11 {
 public:
  virtual ~Registry11() noexcept = default;
  virtual void unused_set_recorder(void*) noexcept = 0;
  virtual void* unused_get_recorder() const noexcept = 0;
  virtual bool unused_parent_search() const = 0;
  virtual void unused_set_parent_search(bool) = 0;
  virtual void* unused_load(const char*) noexcept = 0;
  virtual void unused_unload(void*) noexcept = 0;
  virtual bool register_creator(Creator& creator, const char* plugin_namespace) noexcept = 0;
  virtual Creator* const* unused_all(int32_t*) const noexcept = 0;
  virtual Creator* unused_get(const char*, const char*, const char*) noexcept = 0;
  virtual bool deregister_creator(const Creator& creator) noexcept = 0;
};

}  // namespace natdeploy::trt::abi
