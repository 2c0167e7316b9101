#include "plan.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "files.h"
#include "problem.h"

#ifndef NATDEPLOY_EXAMPLES_PLUGIN
#define NATDEPLOY_EXAMPLES_PLUGIN ""
#endif

namespace natdeploy::examples {
namespace {

constexpr uint64_t kLargestSidecar = uint64_t{1} << 26;
constexpr uint64_t kLargestPlan = uint64_t{1} << 36;

#if defined(__aarch64__)
constexpr char kMachine[] = "aarch64";
#else
constexpr char kMachine[] = "x86_64";
#endif

std::string title_of(const std::string& backend) {
  return backend == "tensorrt-rtx" ? "TensorRT for RTX" : backend == "tensorrt" ? "TensorRT" : "'" + backend + "'";
}

// Sidecars have the version that TensorRT's Python package tells: of some releases without the build number (10.3.0).
bool is_same_version(const std::string& one, const std::string& other) {
  const std::string& shorter = one.size() < other.size() ? one : other;
  const std::string& longer = one.size() < other.size() ? other : one;
  const bool three_numbers = std::count(shorter.begin(), shorter.end(), '.') >= 2;
  return one == other || (three_numbers && longer.rfind(shorter + ".", 0) == 0);
}

// Whether there is a shared library among the bytes, whatever the sidecar says. Kernels for the GPU are ELF files, too.
bool holds_library(const std::vector<uint8_t>& bytes) {
  constexpr uint8_t kElf[] = {0x7F, 'E', 'L', 'F'};
  constexpr int kShared = 3, kCuda = 190;  // ET_DYN, EM_CUDA
  constexpr std::ptrdiff_t kHead = 20;     // up to type and machine, two little-endian bytes each
  auto at = bytes.begin();
  while ((at = std::search(at, bytes.end(), std::begin(kElf), std::end(kElf))) != bytes.end()) {
    if (bytes.end() - at >= kHead && (at[16] | at[17] << 8) == kShared && (at[18] | at[19] << 8) != kCuda) return true;
    ++at;
  }
  return false;
}

void check_backend(const Engine& engine, const Backend& backend, const std::string& path) {
  if (engine.backend != backend.name) {
    throw Problem("'" + path + "' is a plan of " + title_of(engine.backend) + ", and this program is linked with " +
                  backend.title + ": build the plan for it, or this program with the other.");
  }
  if (std::atoi(backend.version.c_str()) != backend.compiled_major) {
    throw Problem("This program was compiled for " + backend.title + " " + std::to_string(backend.compiled_major) +
                  ", and the library that it found is " + backend.version + ": compile it with the headers of that.");
  }
  if (!is_same_version(engine.version, backend.version) && !engine.version_compatible) {
    throw Problem("'" + path + "' was built by " + backend.title + " " + engine.version + ", and " + backend.version +
                  " is here: build it again with `natdeploy build-engine`.");
  }
  if (engine.machine != kMachine) {
    throw Problem("'" + path + "' was built for " + engine.machine + ", and this is " + kMachine + ".");
  }
}

}  // namespace

Plan plan_from_file(const std::string& path, const Backend& backend) {
  const std::string beside = path + ".json";
  if (std::filesystem::exists(path) && !std::filesystem::exists(beside)) {
    throw Problem("There is no sidecar '" + beside + "', which says how images become the plan's input: copy it with " +
                  "the plan from where `natdeploy build-engine` wrote both.");
  }
  Plan plan;
  plan.bytes = bytes_from_file(path, kLargestPlan);
  const std::vector<uint8_t> text = bytes_from_file(beside, kLargestSidecar);
  plan.sidecar = sidecar_from_json(std::string(text.begin(), text.end()), beside);
  if (plan.bytes.size() != plan.sidecar.engine.plan_bytes) {
    throw Problem("'" + path + "' has " + std::to_string(plan.bytes.size()) + " bytes, and its sidecar says " +
                  std::to_string(plan.sidecar.engine.plan_bytes) + ": copy both from where they were built.");
  }
  check_backend(plan.sidecar.engine, backend, path);
  return plan;
}

void check_gpu(const Engine& engine, const std::string& capability) {
  if (engine.gpu.empty() || engine.other_gpus || engine.gpu_capability == capability) return;
  throw Problem("The plan was built for " + engine.gpu + ", of compute capability " + engine.gpu_capability +
                ", and this GPU has " + capability + ": build it again here, or with `natdeploy build-engine " +
                "--config hardware_compatibility_level=AMPERE_PLUS`.");
}

void check_host_code(const Plan& plan, const std::string& path, bool allowed) {
  const Engine& engine = plan.sidecar.engine;
  if (allowed || !(engine.plugin_embedded || engine.version_compatible || holds_library(plan.bytes))) return;
  throw Problem("'" + path + "' carries a plugin library or a TensorRT runtime, whose code would run here with your " +
                "rights as soon as it is loaded: if you trust where it comes from, add --allow-host-code.");
}

std::string plugin_path(const Engine& engine, const std::string& named) {
  if (!engine.plugin_needed || engine.plugin_embedded) return {};
  const char* variable = std::getenv("NATDEPLOY_PLUGIN_LIBRARY");
  const std::string path = !named.empty() ? named : variable != nullptr ? variable : NATDEPLOY_EXAMPLES_PLUGIN;
  if (path.empty()) {
    throw Problem("This plan needs natdeploy's plugin library: name it with --plugin libnatdeploy_trt.so, or with "
                  "the variable NATDEPLOY_PLUGIN_LIBRARY.");
  }
  require_file(path);
  return std::filesystem::absolute(path);  // a bare name would be looked for among the system's libraries
}

}  // namespace natdeploy::examples
