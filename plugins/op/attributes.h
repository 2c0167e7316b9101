// What the operator is called, and its attributes: the C++ mirror of natdeploy/ops/spec.py (a test compares the two).
#pragma once

#include <array>
#include <string_view>

namespace natdeploy {

inline constexpr std::string_view kDomain = "natdeploy";
inline constexpr int kDomainVersion = 1;
inline constexpr std::string_view kPluginNamespace = "natdeploy";
inline constexpr std::string_view kPluginVersion = "1";

inline constexpr std::string_view kPackedOp = "PackedNeighborhoodAttention";
inline constexpr std::string_view kSplitOp = "NeighborhoodAttention";

enum class AttributeType { kInt, kInts, kFloat, kString };

struct Attribute {
  std::string_view name;
  AttributeType type;
  bool packed_only = false;
};

inline constexpr std::array kAttributes = {
    Attribute{"num_heads", AttributeType::kInt, true},
    Attribute{"kernel_size", AttributeType::kInts},
    Attribute{"dilation", AttributeType::kInts},
    Attribute{"stride", AttributeType::kInts},
    Attribute{"is_causal", AttributeType::kInts},
    Attribute{"scale", AttributeType::kFloat},
    Attribute{"plugin_namespace", AttributeType::kString},
    Attribute{"plugin_version", AttributeType::kString},
};

}  // namespace natdeploy
