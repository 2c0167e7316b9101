// A plan and its sidecar, and whether they fit each other and this program, before TensorRT sees them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metadata.h"

namespace natdeploy::examples {

// The TensorRT that this program is linked with.
struct Backend {
  std::string name;   // as sidecars call it
  std::string title;  // as people do
  int compiled_major = 0;
  std::string version;  // of the library that was loaded: 10.15.1.29
};

struct Plan {
  Sidecar sidecar;
  std::vector<uint8_t> bytes;
};

// Reads both; refuses a plan that is not the sidecar's, that this backend cannot run, or a backend that this program
// was not compiled for.
Plan plan_from_file(const std::string& path, const Backend& backend);

// Refuses a GPU of another compute capability (9.0) than the plan was built for.
void check_gpu(const Engine& engine, const std::string& capability);

// Refuses a plan that brings code for this machine, a plugin library or a TensorRT runtime, where that is not allowed.
// Not left to TensorRT: that for RTX 1.7 loads a library that a plan brings without asking.
void check_host_code(const Plan& plan, const std::string& path, bool allowed);

// The plugin library that the plan needs, as an absolute path: `named`, else what the variable NATDEPLOY_PLUGIN_LIBRARY
// names, else the one of the natdeploy that this was compiled with. Empty where none is needed.
std::string plugin_path(const Engine& engine, const std::string& named);

}  // namespace natdeploy::examples
