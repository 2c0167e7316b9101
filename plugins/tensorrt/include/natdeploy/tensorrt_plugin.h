/* The names of natdeploy's TensorRT plugin library: libnatdeploy_trt.so, CMake target natdeploy::tensorrt_plugin.
 *
 * One file for TensorRT 10.3 to 11.x and TensorRT for RTX: it links none of them, and finds out at run time which one
 * it is in. Load it before an ONNX file is parsed or a plan is deserialized, in one of three ways:
 *
 * 1. void* handle = runtime_or_builder->getPluginRegistry().loadLibrary(path);
 *    The documented way, for C++ programs. NULL says that it failed; TensorRT's logger says why. Where the library has
 *    been loaded in another way before, this takes over. deregisterLibrary(handle) undoes it, when no engine that uses
 *    the plugin is left.
 * 2. dlopen(path, RTLD_NOW | RTLD_GLOBAL)
 *    What trtexec --staticPlugins, Polygraphy, Triton, DeepStream and ONNX Runtime do. The library registers its
 *    plugins with every TensorRT that is in the process by then. The environment variable NATDEPLOY_SELF_REGISTER=0
 *    forbids it.
 * 3. Linking. Then it registers itself as in 2, when the program starts. Call natdeploy_manifest somewhere: a linker
 *    that is called with --as-needed (many are) leaves out a library of which nothing is called.
 *
 * It exports three functions, all with C linkage:
 *   natdeploy_manifest  const char* natdeploy_manifest(), below
 *   getCreators         nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count), which loadLibrary calls
 *   setLoggerFinder     void setLoggerFinder(nvinfer1::ILoggerFinder*), which it calls before; not for programs
 * Every plugin library has the last two, so they are not declared here: ask dlsym for them, with the library's own
 * handle.
 *
 * Threads and streams: TensorRT calls the plugin as it calls its own layers. It keeps no state outside of its plugin
 * objects, allocates no device memory, works on the execution context's stream and can be captured into a CUDA graph;
 * one execution context may be used by one thread at a time, several contexts of an engine by several.
 *
 * Plans hold the plugin's attributes and the ids of its tactics. NATDEPLOY_PLUGIN_VERSION changes when a library can no
 * longer read the plans of an older one; TensorRT then says that it finds no creator of that version.
 */
#ifndef NATDEPLOY_TENSORRT_PLUGIN_H
#define NATDEPLOY_TENSORRT_PLUGIN_H

#ifdef __cplusplus
extern "C" {
#endif

/* What TensorRT's registry knows the plugins by: getCreator(name, version, namespace). */
#define NATDEPLOY_PLUGIN_NAMESPACE "natdeploy"
#define NATDEPLOY_PLUGIN_VERSION "1"
#define NATDEPLOY_PACKED_PLUGIN "PackedNeighborhoodAttention"
#define NATDEPLOY_SPLIT_PLUGIN "NeighborhoodAttention"

/* The library's file name, and what its manifest's "schema" is. */
#define NATDEPLOY_PLUGIN_LIBRARY "libnatdeploy_trt.so"
#define NATDEPLOY_MANIFEST_SCHEMA 1

/* What the library is, as JSON: versions, operators with their attributes, kernel families, GPU architectures, CUDA
 * version. Fields are only added while "schema" stays NATDEPLOY_MANIFEST_SCHEMA. Needs neither TensorRT nor a GPU, and
 * may be called from any thread. The text is the library's, valid until it is unloaded; NULL where the host's memory
 * ran out. */
#if !defined(_WIN32)
__attribute__((visibility("default")))
#endif
#ifdef __cplusplus
const char* natdeploy_manifest(void) noexcept;
#else
const char* natdeploy_manifest(void);
#endif

/* For those that take it from dlsym. */
typedef const char* (*natdeploy_manifest_function)(void);

#ifdef __cplusplus
}
#endif
#endif /* NATDEPLOY_TENSORRT_PLUGIN_H */
