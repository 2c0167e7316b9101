// Opens the plugin library by name, as programs without loadLibrary do, and prints the plugins that it offers.
#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <natdeploy/tensorrt_plugin.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

using GetCreators = nvinfer1::IPluginCreatorInterface* const* (*)(int32_t&);

int main() {
  void* library = dlopen(PLUGIN_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::printf("%s\n", dlerror());
    return 1;
  }
  const auto manifest = reinterpret_cast<natdeploy_manifest_function>(dlsym(library, "natdeploy_manifest"));
  const auto get_creators = reinterpret_cast<GetCreators>(dlsym(library, "getCreators"));
  if (manifest == nullptr || get_creators == nullptr || std::strchr(manifest(), '{') == nullptr) return 2;
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* creators = get_creators(count);
  for (int32_t i = 0; i < count; ++i) {
    const auto* creator = static_cast<nvinfer1::IPluginCreatorV3One*>(creators[i]);
    std::printf("%s %s %s\n", creator->getPluginName(), creator->getPluginVersion(), creator->getPluginNamespace());
  }
  return dlclose(library);
}
