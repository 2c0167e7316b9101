// The JSON documents that natdeploy writes: an ONNX file's metadata (docs/metadata.md) and a plan's sidecar, which is
// the same document with the part `engine` (docs/sidecar.md). Read with nlohmann/json; what does not fit is a Problem.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "preprocessing.h"

namespace natdeploy::examples {

struct Metadata {
  Recipe recipe;
  std::vector<std::string> labels;  // empty where the model has none
  std::optional<int> batch;         // none where the file takes any
};

struct Engine {
  uint64_t plan_bytes = 0;
  std::string backend;  // tensorrt or tensorrt-rtx
  std::string version;  // of TensorRT: 10.15.1.29
  bool version_compatible = false;
  std::string machine;           // x86_64 or aarch64
  std::string gpu;               // what it was tuned on: NVIDIA H100; empty where it was built without one
  std::string gpu_capability;    // of that one: 9.0
  bool other_gpus = false;       // whether it runs on others too
  bool plugin_needed = false;    // by nodes of the plan
  bool plugin_embedded = false;  // in the plan
};

struct Sidecar {
  Metadata metadata;
  Engine engine;
};

// `source` is for messages. Refuses a model that does not classify images: no output `logits`, no grey or RGB input.
Metadata metadata_from_json(const std::string& text, const std::string& source);
Sidecar sidecar_from_json(const std::string& text, const std::string& source);

}  // namespace natdeploy::examples
