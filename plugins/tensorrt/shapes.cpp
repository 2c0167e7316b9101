#include "tensorrt/shapes.h"

#include <limits>
#include <string>
#include <vector>

#include "tensorrt/refusal.h"

namespace natdeploy::trt {
namespace {

using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::IDimensionExpr;

constexpr int32_t kLargest = std::numeric_limits<int32_t>::max();
constexpr int64_t kUnknown = -1;

std::string text(const Dims& dims) {
  std::string all;
  for (int32_t i = 0; i < dims.nbDims && i < Dims::MAX_DIMS; ++i) {
    all += (i == 0 ? "" : ", ") + (dims.d[i] == kUnknown ? std::string("?") : std::to_string(dims.d[i]));
  }
  return "[" + all + "]";
}

const char* name_of_input(Form form, int32_t index) {
  if (form == Form::kPacked) return index == 0 ? "qkv" : "rpb";
  constexpr const char* kNames[] = {"query", "key", "value", "rpb"};
  return kNames[index];
}

// Shapes agree where both are known.
bool agree(const Dims& a, const Dims& b) {
  if (a.nbDims != b.nbDims) return false;
  for (int32_t i = 0; i < a.nbDims; ++i) {
    if (a.d[i] != b.d[i] && a.d[i] != kUnknown && b.d[i] != kUnknown) return false;
  }
  return true;
}

std::string reason_against_rank(const PluginParameters& p, const Dims& data) {
  const int32_t axes = data_axes(p.form);
  if (data.nbDims == axes) return {};
  return std::string(name_of_input(p.form, 0)) + " has " + std::to_string(data.nbDims) + " axes where " +
         std::to_string(axes) + " are needed";
}

std::string reason_against_channels(const PluginParameters& p, const Dims& data) {
  const int64_t channels = data.d[3];
  const int64_t divisor = int64_t{3} * p.num_heads;
  if (p.form != Form::kPacked || channels == kUnknown || (channels > 0 && channels % divisor == 0)) return {};
  return "qkv has " + std::to_string(channels) + " channels, which 3 * num_heads = " + std::to_string(divisor) +
         " does not divide";
}

std::string reason_against_rpb(const PluginParameters& p, const Dims& data, const Dims& rpb) {
  Dims needed{3, {}};
  needed.d[0] = p.form == Form::kPacked ? p.num_heads : data.d[3];
  for (int32_t axis = 0; axis < kRank; ++axis) needed.d[1 + axis] = 2 * int64_t{p.kernel_size[axis]} - 1;
  if (agree(rpb, needed)) return {};
  return "rpb has shape " + text(rpb) + " where " + text(needed) + " is needed";
}

// Axes of the tensors that do not fit together; -1 stands for what is not known yet.
std::vector<std::string> shape_problems(const PluginParameters& p, const Dims* const* inputs, int32_t input_count) {
  const Dims& data = *inputs[0];
  if (std::string reason = reason_against_rank(p, data); !reason.empty()) return {reason};
  std::vector<std::string> reasons;
  for (int32_t i = 0; i < data.nbDims; ++i) {
    if (data.d[i] < kUnknown || data.d[i] > kLargest) {
      reasons.push_back("shape " + text(data) + " is out of range");
      return reasons;
    }
  }
  for (int32_t i = 1; i < data_inputs(p.form); ++i) {
    if (!agree(data, *inputs[i])) {
      reasons.push_back(std::string(name_of_input(p.form, i)) + " has shape " + text(*inputs[i]) + ", query has " +
                        text(data));
    }
  }
  if (std::string reason = reason_against_channels(p, data); !reason.empty()) reasons.push_back(reason);
  if (has_rpb(p.form, input_count)) {
    std::string reason = reason_against_rpb(p, data, *inputs[input_count - 1]);
    if (!reason.empty()) reasons.push_back(reason);
  }
  return reasons;
}

// The axes with their value where it is constant, -1 elsewhere.
Dims known_part(const DimsExprs& expressions) {
  if (expressions.nbDims < 0 || expressions.nbDims > Dims::MAX_DIMS) throw Refusal("an input has no shape");
  Dims dims{expressions.nbDims, {}};
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    const IDimensionExpr* axis = expressions.d[i];
    if (axis == nullptr) throw Refusal("an input has no shape");
    dims.d[i] = axis->isConstant() ? axis->getConstantValue() : kUnknown;
  }
  return dims;
}

AttentionParameters parameters_of(const PluginParameters& p, const Dims& data, bool with_rpb, DataType dtype) {
  AttentionParameters found = operator_attributes(p);
  found.dtype = dtype;
  found.has_rpb = with_rpb;
  found.batch = data.d[0];
  found.map = {static_cast<int32_t>(data.d[1]), static_cast<int32_t>(data.d[2])};
  const bool packed = p.form == Form::kPacked;
  found.heads = packed ? p.num_heads : static_cast<int32_t>(data.d[3]);
  found.head_dim = static_cast<int32_t>(packed ? data.d[3] / (int64_t{3} * p.num_heads) : data.d[4]);
  return found;
}

// The operator's own rules, with 'large enough' for what is not known.
std::vector<std::string> rule_problems(const PluginParameters& p, Dims data, bool with_rpb) {
  const int64_t channels = int64_t{3} * p.num_heads;
  for (int32_t i = 0; i < data.nbDims; ++i) {
    if (data.d[i] == kUnknown) data.d[i] = i < 3 ? kLargest : p.form == Form::kPacked ? channels : 1;
  }
  return problems(parameters_of(p, data, with_rpb, DataType::kFloat32));
}

}  // namespace

void check_counts(Form form, int32_t inputs, int32_t outputs) {
  const int32_t data = data_inputs(form);
  if (inputs != data && inputs != data + 1) {
    throw Refusal("the node has " + std::to_string(inputs) + " inputs where " + std::to_string(data) + ", or " +
                  std::to_string(data + 1) + " with rpb, are needed");
  }
  if (outputs != kOutputs) throw Refusal("the node has " + std::to_string(outputs) + " outputs where 1 is needed");
}

DataType data_type_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return DataType::kFloat32;
    case nvinfer1::DataType::kHALF:
      return DataType::kFloat16;
    case nvinfer1::DataType::kBF16:
      return DataType::kBFloat16;
    default:
      throw Refusal("tensors of TensorRT's type " + std::to_string(static_cast<int32_t>(type)) +
                    " are not computed: float32, float16 or bfloat16 is needed");
  }
}

AttentionParameters parameters_from_shapes(const PluginParameters& p, const Shapes& shapes, DataType dtype) {
  refuse_if_any(shape_problems(p, shapes.inputs, shapes.input_count));
  const Dims& data = *shapes.inputs[0];
  const AttentionParameters found = parameters_of(p, data, has_rpb(p.form, shapes.input_count), dtype);
  Dims expected = data;
  if (p.form == Form::kPacked) expected.d[3] = data.d[3] / 3;
  if (shapes.output != nullptr && !agree(expected, *shapes.output)) {
    throw Refusal("the output has shape " + text(*shapes.output) + " where " + text(expected) + " is needed");
  }
  return found;
}

DimsExprs output_shape(const PluginParameters& p, const DimsExprs* inputs, int32_t input_count,
                       nvinfer1::IExprBuilder& expressions) {
  Dims known[4] = {};
  const Dims* pointers[4] = {};
  for (int32_t i = 0; i < input_count; ++i) {
    known[i] = known_part(inputs[i]);
    pointers[i] = &known[i];
  }
  refuse_if_any(shape_problems(p, pointers, input_count));
  refuse_if_any(rule_problems(p, known[0], has_rpb(p.form, input_count)));
  DimsExprs output = inputs[0];
  if (p.form == Form::kPacked) {
    const IDimensionExpr* three = expressions.constant(3);
    if (three == nullptr) throw Refusal("TensorRT gives no constant");
    output.d[3] = expressions.operation(nvinfer1::DimensionOperation::kFLOOR_DIV, *inputs[0].d[3], *three);
    if (output.d[3] == nullptr) throw Refusal("TensorRT gives no expression for the output's channels");
  }
  return output;
}

}  // namespace natdeploy::trt
