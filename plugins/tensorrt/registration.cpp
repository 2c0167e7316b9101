#include "tensorrt/registration.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "op/attributes.h"
#include "tensorrt/neighborhood_plugin.h"
#include "tensorrt/tensorrt_abi.h"

namespace natdeploy::trt {
namespace {

// A TensorRT in this process.
struct Runtime {
  void* library = nullptr;  // from dlopen, which keeps it loaded while we are registered; null for the program itself
  void* registry = nullptr;
  int major = 0;
};

// Files that hold a plugin registry, whatever their version.
constexpr std::string_view kLibraryPrefixes[] = {"libnvinfer.so", "libnvinfer_lean.so", "libnvinfer_dispatch.so",
                                                 "libtensorrt_rtx.so"};

// What is loaded where none is there yet: Polygraphy opens us before it imports TensorRT.
constexpr const char* kSonames[] = {"libnvinfer.so.11",      "libnvinfer.so.10",      "libnvinfer_lean.so.11",
                                    "libnvinfer_lean.so.10", "libtensorrt_rtx.so.1"};

// The same, as Python packages that lie beside our own: <site-packages>/natdeploy/lib/libnatdeploy_trt.so.
constexpr const char* kPackaged[] = {
    "tensorrt_libs/libnvinfer.so.11", "tensorrt_libs/libnvinfer.so.10", "tensorrt_lean_libs/libnvinfer_lean.so.11",
    "tensorrt_lean_libs/libnvinfer_lean.so.10", "tensorrt_rtx_libs/libtensorrt_rtx.so.1"};

// Ends with a slash; empty where we cannot find out where we are.
std::string site_packages() {
  Dl_info where{};
  if (dladdr(&kPackaged, &where) == 0 || where.dli_fname == nullptr) return {};
  const std::string_view path = where.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string() : std::string(path.substr(0, slash)) + "/../../";
}

Runtime runtime_in(void* library, void* scope) {
  const auto get_registry = reinterpret_cast<void* (*)()>(dlsym(scope, "getPluginRegistry"));
  const auto get_major = reinterpret_cast<int32_t (*)()>(dlsym(scope, "getInferLibMajorVersion"));  // since 10.0
  if (get_registry == nullptr || get_major == nullptr || abi::layout_of(get_major()) == 0) return {};
  return {library, get_registry(), get_major()};
}

int collect_name(dl_phdr_info* info, size_t, void* names) {
  const std::string_view path = info->dlpi_name;
  const std::string_view file = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
  for (const std::string_view prefix : kLibraryPrefixes) {
    if (file.starts_with(prefix)) static_cast<std::vector<std::string>*>(names)->emplace_back(path);
  }
  return 0;
}

void add_if_new(std::vector<Runtime>& found, const Runtime& runtime) {
  bool is_new = runtime.registry != nullptr;
  for (const Runtime& known : found) is_new = is_new && known.registry != runtime.registry;
  if (is_new) {
    found.push_back(runtime);
  } else if (runtime.library != nullptr) {
    dlclose(runtime.library);
  }
}

void add_library(std::vector<Runtime>& found, const char* name, int flags) {
  void* library = dlopen(name, flags);
  if (library == nullptr) return;
  Runtime runtime = runtime_in(library, library);
  runtime.library = library;
  add_if_new(found, runtime);
}

// Every TensorRT in the process, also those that Python loaded for itself alone.
std::vector<Runtime> runtimes() {
  std::vector<Runtime> found;
  add_if_new(found, runtime_in(nullptr, RTLD_DEFAULT));
  std::vector<std::string> paths;
  dl_iterate_phdr(collect_name, &paths);
  for (const std::string& path : paths) add_library(found, path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  for (const char* soname : kSonames) {
    if (found.empty()) add_library(found, soname, RTLD_LAZY);
  }
  const std::string packages = site_packages();
  for (const char* file : kPackaged) {
    if (found.empty() && !packages.empty()) add_library(found, (packages + file).c_str(), RTLD_LAZY);
  }
  return found;
}

bool register_in(const Runtime& runtime, nvinfer1::IPluginCreatorInterface& creator) {
  const char* plugin_namespace = kPluginNamespace.data();
  if (abi::layout_of(runtime.major) == abi::kMajor10) {
    return static_cast<abi::Registry10*>(runtime.registry)->register_creator(creator, plugin_namespace);
  }
  return static_cast<abi::Registry11*>(runtime.registry)->register_creator(creator, plugin_namespace);
}

void deregister_from(const Runtime& runtime, const nvinfer1::IPluginCreatorInterface& creator) {
  if (abi::layout_of(runtime.major) == abi::kMajor10) {
    (void)static_cast<abi::Registry10*>(runtime.registry)->deregister_creator(creator);
  } else {
    (void)static_cast<abi::Registry11*>(runtime.registry)->deregister_creator(creator);
  }
}

class SelfRegistration {
 public:
  SelfRegistration() noexcept {
    const char* wish = std::getenv("NATDEPLOY_SELF_REGISTER");
    if (wish != nullptr && std::strcmp(wish, "0") == 0) return;
    try {
      (void)creators();  // made first, so that they are destroyed last
      for (const Runtime& runtime : runtimes()) add(runtime);
    } catch (...) {  // a library that cannot register can still be loaded by loadLibrary
    }
  }

  ~SelfRegistration() { yield(nullptr); }

  // Takes the registrations in one registry back; all of them for null.
  void yield(const void* registry) noexcept {
    const std::lock_guard lock(mutex_);
    for (Entry& entry : entries_) {
      if (entry.creator == nullptr || (registry != nullptr && entry.runtime.registry != registry)) continue;
      deregister_from(entry.runtime, *entry.creator);
      entry.creator = nullptr;
    }
  }

 private:
  struct Entry {
    Runtime runtime;
    nvinfer1::IPluginCreatorInterface* creator = nullptr;
  };

  // Another copy of this library may have registered the same names: then it stays as it is.
  void add(const Runtime& runtime) {
    for (nvinfer1::IPluginCreatorInterface* creator : creators()) {
      if (register_in(runtime, *creator)) entries_.push_back({runtime, creator});
    }
  }

  std::mutex mutex_;
  std::vector<Entry> entries_;
};

SelfRegistration& self_registration() {
  static SelfRegistration registration;
  return registration;
}

// A static object, not a constructor function: those run before the statics that the creators need.
[[maybe_unused]] const SelfRegistration& registered_on_load = self_registration();

}  // namespace

const std::array<nvinfer1::IPluginCreatorInterface*, kCreators>& creators() {
  static NeighborhoodPluginCreator packed(Form::kPacked);
  static NeighborhoodPluginCreator split(Form::kSplit);
  static const std::array<nvinfer1::IPluginCreatorInterface*, kCreators> all{&packed, &split};
  return all;
}

int yield_to_loader(const void* caller) noexcept {
  Dl_info where{};
  Runtime loader;
  if (dladdr(caller, &where) != 0 && where.dli_fname != nullptr) {
    if (void* library = dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD); library != nullptr) {
      loader = runtime_in(library, library);
      dlclose(library);  // its own users keep it loaded: it is calling us
    }
  }
  if (loader.registry == nullptr) loader = runtime_in(nullptr, RTLD_DEFAULT);
  self_registration().yield(loader.registry);
  return loader.major;
}

}  // namespace natdeploy::trt
