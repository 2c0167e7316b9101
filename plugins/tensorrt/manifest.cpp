#include "tensorrt/manifest.h"

#include <NvInferVersion.h>
#include <cuda_runtime_api.h>

#include <string>
#include <string_view>
#include <vector>

#include "op/attributes.h"
#include "op/launch.h"
#include "tensorrt/plugin_parameters.h"

#ifndef NATDEPLOY_VERSION
#error "NATDEPLOY_VERSION comes from the build (plugins/CMakeLists.txt)"
#endif

namespace natdeploy::trt {
namespace {

constexpr int kSchema = 1;

// All names here are our own or digits and commas: nothing needs escaping.
std::string quoted(std::string_view text) { return std::string(1, '"').append(text).append(1, '"'); }

std::string enclosed(char begin, const std::vector<std::string>& parts, char end) {
  std::string text(1, begin);
  for (const std::string& part : parts) text.append(text.size() > 1 ? ", " : "").append(part);
  return text.append(1, end);
}

std::string object(const std::vector<std::string>& members) { return enclosed('{', members, '}'); }
std::string array(const std::vector<std::string>& elements) { return enclosed('[', elements, ']'); }

std::string member(std::string_view name, const std::string& value) { return quoted(name) + ": " + value; }
std::string member(std::string_view name, int value) { return member(name, std::to_string(value)); }

std::string_view name_of(AttributeType type) {
  switch (type) {
    case AttributeType::kInt:
      return "INT";
    case AttributeType::kInts:
      return "INTS";
    case AttributeType::kFloat:
      return "FLOAT";
    case AttributeType::kString:
      return "STRING";
  }
  return "";
}

std::string_view name_of(Tactic tactic) {
  switch (tactic) {
    case Tactic::kGeneric:
      return "generic";
    case Tactic::kTensorCore:
      return "tensor_core";
    case Tactic::kWholeMap:
      return "whole_map";
  }
  return "";
}

std::string operator_json(Form form) {
  std::vector<std::string> attributes;
  for (const Attribute& attribute : kAttributes) {
    if (attribute.packed_only && form != Form::kPacked) continue;
    attributes.push_back(
        object({member("name", quoted(attribute.name)), member("type", quoted(name_of(attribute.type)))}));
  }
  return object({member("op_type", quoted(op_type(form))), member("attributes", array(attributes))});
}

std::string tactics_json() {
  std::vector<std::string> members;
  for (const Tactic tactic : kAllTactics) members.push_back(member(name_of(tactic), static_cast<int>(tactic)));
  return object(members);
}

// CMake's list of architectures with commas, as it was compiled: "90-real,120".
std::string architectures_json() {
  std::vector<std::string> elements;
  std::string_view rest = NATDEPLOY_CUDA_ARCHITECTURES;
  while (!rest.empty()) {
    const size_t end = rest.find(',');
    elements.push_back(quoted(rest.substr(0, end)));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return array(elements);
}

std::string write_manifest() {
  const std::string headers = std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." +
                              std::to_string(NV_TENSORRT_PATCH);
  return object({
      member("schema", kSchema),
      member("library", quoted("natdeploy_trt")),
      member("natdeploy_version", quoted(NATDEPLOY_VERSION)),
      member("domain", quoted(kDomain)),
      member("domain_version", kDomainVersion),
      member("plugin_namespace", quoted(kPluginNamespace)),
      member("plugin_version", quoted(kPluginVersion)),
      member("plan_format_version", kFormatVersion),
      member("kernel_version", kKernelVersion),
      member("operators", array({operator_json(Form::kPacked), operator_json(Form::kSplit)})),
      member("spatial_ranks", array({std::to_string(kRank)})),
      member("dtypes", array({quoted("float32"), quoted("float16"), quoted("bfloat16")})),
      member("tactics", tactics_json()),
      member("cuda_architectures", architectures_json()),
      member("cuda_version", quoted(std::to_string(CUDART_VERSION / 1000) + "." +
                                    std::to_string(CUDART_VERSION % 1000 / 10))),
      member("tensorrt_headers", quoted(headers)),
  });
}

}  // namespace

const char* manifest() noexcept {
  try {
    static const std::string text = write_manifest();
    return text.c_str();
  } catch (...) {
    return nullptr;
  }
}

}  // namespace natdeploy::trt
