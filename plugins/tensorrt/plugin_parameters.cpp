#include "tensorrt/plugin_parameters.h"

#include <cstdio>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>

#include "op/attributes.h"
#include "op/parameters.h"
#include "tensorrt/refusal.h"

namespace natdeploy::trt {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

constexpr int32_t kMostFields = 64;       // the operator has eight: more is a broken collection
constexpr int32_t kLongestString = 1024;  // TensorRT's own limit for names

// Where a field's values live.
struct Slot {
  const char* name;
  PluginFieldType type;
  int32_t length;
  void* data;
};

void* address_of(PluginParameters& p, std::string_view attribute) {
  if (attribute == "num_heads") return &p.num_heads;
  if (attribute == "kernel_size") return p.kernel_size.data();
  if (attribute == "dilation") return p.dilation.data();
  if (attribute == "stride") return p.stride.data();
  if (attribute == "is_causal") return p.is_causal.data();
  if (attribute == "scale") return &p.scale;
  throw std::logic_error("attributes.h declares an attribute that the plugin does not know");
}

// Namespace and version only lead a parser to the plugin: they carry nothing to compute with.
bool is_parameter(const Attribute& attribute, Form form) {
  return attribute.type != AttributeType::kString && (form == Form::kPacked || !attribute.packed_only);
}

std::vector<Slot> slots_of(PluginParameters& p, TensorRTPhase phase) {
  std::vector<Slot> slots;
  if (phase == TensorRTPhase::kRUNTIME) {
    slots.push_back({kFormatVersionField, PluginFieldType::kINT32, 1, &p.format_version});
  }
  for (const Attribute& attribute : kAttributes) {
    if (!is_parameter(attribute, p.form)) continue;
    const bool is_float = attribute.type == AttributeType::kFloat;
    slots.push_back({attribute.name.data(), is_float ? PluginFieldType::kFLOAT32 : PluginFieldType::kINT32,
                     attribute.type == AttributeType::kInts ? kRank : 1, address_of(p, attribute.name)});
  }
  return slots;
}

// Names come from outside: only their beginning is repeated.
std::string quoted(const char* name) { return std::string(1, '\'').append(name, strnlen(name, 64)).append(1, '\''); }

// Why a field cannot be read into its slot; empty when it can. Type and length come before any look at the data: the
// parser hands tensors of int64, bool and uint8 over as kFLOAT16 with a pointer to something else.
std::string reason_against(const PluginField& field, const Slot& slot) {
  if (field.type != slot.type) {
    const char* wanted = slot.type == PluginFieldType::kINT32 ? "int32" : "float32";
    return std::string(slot.name) + " has TensorRT's field type " + std::to_string(static_cast<int32_t>(field.type)) +
           " where " + wanted + " is needed";
  }
  if (field.length != slot.length) {
    return std::string(slot.name) + " has " + std::to_string(field.length) + " values where " +
           std::to_string(slot.length) + (slot.length == kRank ? " are needed (height, width)" : " is needed");
  }
  if (field.data == nullptr) return std::string(slot.name) + " has no data";
  return {};
}

std::string reason_against_string(const PluginField& field, std::string_view needed) {
  if (field.type != PluginFieldType::kCHAR || field.data == nullptr || field.length < 1 ||
      field.length > kLongestString) {
    return quoted(field.name) + " is not a string";
  }
  const auto* text = static_cast<const char*>(field.data);
  const std::string_view value(text, strnlen(text, static_cast<size_t>(field.length)));
  if (value == needed) return {};
  return quoted(field.name) + " must be '" + std::string(needed) + "'";
}

// Reads one field; gives the reason why not.
std::string read_field(const PluginField& field, const std::vector<Slot>& slots, std::set<std::string>& seen) {
  if (field.name == nullptr) return "a field has no name";
  const std::string_view name(field.name, strnlen(field.name, kLongestString));
  if (!seen.emplace(name).second) return quoted(field.name) + " is given twice";
  for (const Slot& slot : slots) {
    if (name != slot.name) continue;
    if (std::string reason = reason_against(field, slot); !reason.empty()) return reason;
    std::memcpy(slot.data, field.data, static_cast<size_t>(slot.length) * 4);  // int32 and float32 alike
    return {};
  }
  if (name == "plugin_namespace") return reason_against_string(field, kPluginNamespace);
  if (name == "plugin_version") return reason_against_string(field, kPluginVersion);
  return quoted(field.name) + " is not an attribute of this operator";
}

// The rules of the operator that hold whatever the map: the largest map there is stands in for it.
std::vector<std::string> range_problems(const PluginParameters& p) {
  constexpr int32_t kLargest = std::numeric_limits<int32_t>::max();
  AttentionParameters any = operator_attributes(p);
  any.batch = 1;
  any.map = {kLargest, kLargest};
  return problems(any);
}

}  // namespace

std::string_view op_type(Form form) { return form == Form::kPacked ? kPackedOp : kSplitOp; }

AttentionParameters operator_attributes(const PluginParameters& p) {
  AttentionParameters found;
  found.heads = p.num_heads;
  found.kernel_size = {p.kernel_size[0], p.kernel_size[1]};
  found.dilation = {p.dilation[0], p.dilation[1]};
  found.stride = {p.stride[0], p.stride[1]};
  found.is_causal = {p.is_causal[0], p.is_causal[1]};
  found.scale = p.scale;
  return found;
}

std::string description(const PluginParameters& p) {
  char heads[32] = "";
  if (p.form == Form::kPacked) std::snprintf(heads, sizeof(heads), "num_heads=%d ", p.num_heads);
  char text[256];
  std::snprintf(text, sizeof(text), "%skernel_size=%dx%d dilation=%dx%d stride=%dx%d is_causal=%dx%d scale=%.9g", heads,
                p.kernel_size[0], p.kernel_size[1], p.dilation[0], p.dilation[1], p.stride[0], p.stride[1],
                p.is_causal[0], p.is_causal[1], static_cast<double>(p.scale));
  return text;
}

PluginParameters parameters_from_fields(Form form, const PluginFieldCollection* collection, TensorRTPhase phase) {
  if (phase != TensorRTPhase::kBUILD && phase != TensorRTPhase::kRUNTIME) throw Refusal("the phase is unknown");
  if (collection == nullptr) throw Refusal("there are no attributes");
  const int32_t count = collection->nbFields;
  if (count < 0 || count > kMostFields || (count > 0 && collection->fields == nullptr)) {
    throw Refusal("the attributes are not readable: " + std::to_string(count) + " fields");
  }
  PluginParameters parameters{.form = form};
  const std::vector<Slot> slots = slots_of(parameters, phase);
  std::vector<std::string> reasons;
  std::set<std::string> seen;
  for (int32_t i = 0; i < count; ++i) {
    std::string reason = read_field(collection->fields[i], slots, seen);
    if (!reason.empty()) reasons.push_back(std::move(reason));
  }
  for (const Slot& slot : slots) {
    if (!seen.contains(slot.name)) reasons.push_back(std::string(slot.name) + " is missing");
  }
  refuse_if_any(reasons);
  if (parameters.format_version != kFormatVersion) {
    throw Refusal("the plan holds format " + std::to_string(parameters.format_version) + ", this library reads " +
                  std::to_string(kFormatVersion) + ": load it with the library that it was built with");
  }
  refuse_if_any(range_problems(parameters));
  return parameters;
}

std::vector<PluginField> fields_of(const PluginParameters& parameters) {
  std::vector<PluginField> fields;
  // Slots can be written to; fields are read only.
  for (const Slot& slot : slots_of(const_cast<PluginParameters&>(parameters), TensorRTPhase::kRUNTIME)) {
    fields.emplace_back(slot.name, slot.data, slot.type, slot.length);
  }
  return fields;
}

std::vector<PluginField> declared_fields(Form form) {
  PluginParameters parameters{.form = form};
  std::vector<PluginField> fields;
  for (const Slot& slot : slots_of(parameters, TensorRTPhase::kBUILD)) {
    fields.emplace_back(slot.name, nullptr, slot.type, slot.length);
  }
  return fields;
}

}  // namespace natdeploy::trt
