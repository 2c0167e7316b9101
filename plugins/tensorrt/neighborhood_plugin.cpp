#include "tensorrt/neighborhood_plugin.h"

#include <algorithm>
#include <memory>

#include "op/attributes.h"
#include "tensorrt/device.h"
#include "tensorrt/refusal.h"

namespace natdeploy::trt {
namespace {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

// Tactics are offered as for the newest GPU there is: a builder without a GPU cannot ask, and what the one at hand
// cannot run is replaced when it is launched (usable_tactic).
constexpr int kNewestComputeCapability = 120;

void check_pointers(const void* in, const void* out) {
  if (in == nullptr || out == nullptr) throw Refusal("TensorRT gives no descriptions of the tensors");
}

Shapes shapes_of(const PluginTensorDesc* in, int32_t inputs, const PluginTensorDesc* out) {
  Shapes shapes{{}, inputs, &out[0].dims};
  for (int32_t i = 0; i < inputs; ++i) shapes.inputs[i] = &in[i].dims;
  return shapes;
}

// One point (min, opt or max) of the profile.
Shapes shapes_of(const DynamicPluginTensorDesc* in, int32_t inputs, nvinfer1::Dims DynamicPluginTensorDesc::*point) {
  Shapes shapes{{}, inputs, nullptr};
  for (int32_t i = 0; i < inputs; ++i) shapes.inputs[i] = &(in[i].*point);
  return shapes;
}

std::vector<Tactic> tactics_for(const std::optional<AttentionParameters>& p) {
  std::vector<Tactic> found;
  for (const Tactic tactic : kAllTactics) {
    if (!p || reason_against(tactic, *p, kNewestComputeCapability) == nullptr) found.push_back(tactic);
  }
  return found;
}

}  // namespace

NeighborhoodPlugin::NeighborhoodPlugin(const PluginParameters& parameters)
    : parameters_(parameters),
      timing_cache_id_("natdeploy " + std::string(op_type(parameters.form)) + " " + description(parameters) +
                       " kernels=" + std::to_string(kKernelVersion)),
      metadata_(description(parameters)) {}

NeighborhoodPlugin::NeighborhoodPlugin(const NeighborhoodPlugin& other)
    : IPluginV3(),
      IPluginV3OneCore(),
      IPluginV3OneBuild(),
      IPluginV3OneRuntime(),
      parameters_(other.parameters_),
      timing_cache_id_(other.timing_cache_id_),
      metadata_(other.metadata_),
      configured_(other.configured_),
      tactic_(other.tactic_),
      input_count_(other.input_count_),
      compute_capability_(other.compute_capability_) {}

nvinfer1::IPluginCapability* NeighborhoodPlugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* NeighborhoodPlugin::clone() noexcept {
  return guarded<nvinfer1::IPluginV3*>(name(), "clone", nullptr, [this] { return new NeighborhoodPlugin(*this); });
}

const char* NeighborhoodPlugin::getPluginName() const noexcept { return name().data(); }
const char* NeighborhoodPlugin::getPluginVersion() const noexcept { return kPluginVersion.data(); }
const char* NeighborhoodPlugin::getPluginNamespace() const noexcept { return kPluginNamespace.data(); }

int32_t NeighborhoodPlugin::configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs,
                                            const DynamicPluginTensorDesc* out, int32_t outputs) noexcept {
  return guarded(name(), "configurePlugin", kRefused, [&] {
    check_pointers(in, out);
    check_counts(parameters_.form, inputs, outputs);
    const DataType dtype = data_type_of(in[0].desc.type);
    // At min only a bound is known where the graph computes shapes: a padded map is reported without its padding
    // (TensorRT for RTX 1.7.1). A window that exceeds the largest map can never run.
    const AttentionParameters largest = profile_point(in, inputs, &DynamicPluginTensorDesc::max, dtype);
    refuse_if_any(problems(largest));
    const char* reason = reason_against(Tactic::kGeneric, largest, kNewestComputeCapability);
    if (reason != nullptr) throw Refusal(reason);  // what this one cannot do, none can
    const AttentionParameters optimal = profile_point(in, inputs, &DynamicPluginTensorDesc::opt, dtype);
    configured_ = problems(optimal).empty() ? optimal : largest;
    input_count_ = inputs;
    return kDone;
  });
}

int32_t NeighborhoodPlugin::getOutputDataTypes(nvinfer1::DataType* output_types, int32_t outputs,
                                               const nvinfer1::DataType* input_types, int32_t inputs) const noexcept {
  return guarded(name(), "getOutputDataTypes", kRefused, [&] {
    check_pointers(input_types, output_types);
    check_counts(parameters_.form, inputs, outputs);
    (void)data_type_of(input_types[0]);
    for (int32_t i = 1; i < data_inputs(parameters_.form); ++i) {
      if (input_types[i] != input_types[0]) throw Refusal("query, key and value differ in type");
    }
    if (has_rpb(parameters_.form, inputs) && input_types[inputs - 1] != nvinfer1::DataType::kFLOAT) {
      throw Refusal("rpb is not float32");
    }
    output_types[0] = input_types[0];
    return kDone;
  });
}

int32_t NeighborhoodPlugin::getOutputShapes(const nvinfer1::DimsExprs* in, int32_t inputs, const nvinfer1::DimsExprs*,
                                            int32_t, nvinfer1::DimsExprs* out, int32_t outputs,
                                            nvinfer1::IExprBuilder& expressions) noexcept {
  return guarded(name(), "getOutputShapes", kRefused, [&] {
    check_pointers(in, out);
    check_counts(parameters_.form, inputs, outputs);
    out[0] = output_shape(parameters_, in, inputs, expressions);
    return kDone;
  });
}

// Decided from the positions up to this one: all in memory order, all of the first tensor's type but rpb.
bool NeighborhoodPlugin::supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* in_out,
                                                   int32_t inputs, int32_t outputs) noexcept {
  const bool without_rpb = inputs == data_inputs(parameters_.form);
  if (in_out == nullptr || outputs != kOutputs || !(without_rpb || has_rpb(parameters_.form, inputs))) return false;
  if (position < 0 || position >= inputs + outputs) return false;
  const PluginTensorDesc& tensor = in_out[position].desc;
  if (tensor.format != nvinfer1::PluginFormat::kLINEAR) return false;
  if (has_rpb(parameters_.form, inputs) && position == inputs - 1) return tensor.type == nvinfer1::DataType::kFLOAT;
  if (position > 0) return tensor.type == in_out[0].desc.type;
  return tensor.type == nvinfer1::DataType::kFLOAT || tensor.type == nvinfer1::DataType::kHALF ||
         tensor.type == nvinfer1::DataType::kBF16;
}

int32_t NeighborhoodPlugin::getNbOutputs() const noexcept { return kOutputs; }

size_t NeighborhoodPlugin::getWorkspaceSize(const DynamicPluginTensorDesc* in, int32_t inputs,
                                            const DynamicPluginTensorDesc* out, int32_t outputs) const noexcept {
  return guarded(name(), "getWorkspaceSize", size_t{0}, [&] {
    check_pointers(in, out);
    check_counts(parameters_.form, inputs, outputs);
    const DataType dtype = data_type_of(in[0].desc.type);
    const AttentionParameters p = profile_point(in, inputs, &DynamicPluginTensorDesc::max, dtype);
    size_t bytes = 0;
    for (const Tactic tactic : tactics_for(p)) bytes = std::max(bytes, workspace_size(p, tactic));
    return bytes;
  });
}

int32_t NeighborhoodPlugin::getNbTactics() noexcept {
  return guarded(name(), "getNbTactics", int32_t{0},
                 [&] { return static_cast<int32_t>(tactics_for(configured_).size()); });
}

int32_t NeighborhoodPlugin::getValidTactics(int32_t* tactics, int32_t count) noexcept {
  return guarded(name(), "getValidTactics", kRefused, [&] {
    const std::vector<Tactic> found = tactics_for(configured_);
    if (tactics == nullptr || count != static_cast<int32_t>(found.size())) {
      throw Refusal("TensorRT asks for " + std::to_string(count) + " tactics, there are " +
                    std::to_string(found.size()));
    }
    std::transform(found.begin(), found.end(), tactics, [](Tactic tactic) { return static_cast<int32_t>(tactic); });
    return kDone;
  });
}

const char* NeighborhoodPlugin::getTimingCacheID() noexcept { return timing_cache_id_.c_str(); }
const char* NeighborhoodPlugin::getMetadataString() noexcept { return metadata_.c_str(); }

// TensorRT's 0 stands for "none was chosen": ours to choose then.
int32_t NeighborhoodPlugin::setTactic(int32_t tactic) noexcept {
  return guarded(name(), "setTactic", kRefused, [&] {
    tactic_.reset();
    if (tactic == 0) return kDone;
    for (const Tactic known : kAllTactics) {
      if (static_cast<int32_t>(known) == tactic) tactic_ = known;
    }
    if (!tactic_) {
      throw Refusal("tactic " + std::to_string(tactic) + " is unknown: a newer library built this engine");
    }
    return kDone;
  });
}

int32_t NeighborhoodPlugin::onShapeChange(const PluginTensorDesc* in, int32_t inputs, const PluginTensorDesc* out,
                                          int32_t outputs) noexcept {
  return guarded(name(), "onShapeChange", kRefused, [&] {
    check_pointers(in, out);
    check_counts(parameters_.form, inputs, outputs);
    input_count_ = inputs;
    (void)parameters_at(in, out);
    if (compute_capability_ == 0) compute_capability_ = current_compute_capability();
    return kDone;
  });
}

int32_t NeighborhoodPlugin::enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs,
                                    void* const* outputs, void*, cudaStream_t stream) noexcept {
  return guarded(name(), "enqueue", kRefused, [&] {
    check_pointers(in, out);
    check_pointers(inputs, outputs);
    if (input_count_ == 0) throw Refusal("enqueue comes before onShapeChange");
    const AttentionParameters p = parameters_at(in, out);
    if (p.batch == 0) return kDone;  // empty tensors may have no address
    for (int32_t i = 0; i < input_count_; ++i) check_pointers(inputs[i], outputs[0]);
    if (compute_capability_ == 0) compute_capability_ = current_compute_capability();
    if (compute_capability_ == 0) throw Refusal("CUDA finds no GPU");
    const auto* rpb = p.has_rpb ? static_cast<const float*>(inputs[input_count_ - 1]) : nullptr;
    const AttentionTensors tensors =
        parameters_.form == Form::kPacked ? packed_tensors(p, inputs[0], rpb, outputs[0])
                                          : split_tensors(p, inputs[0], inputs[1], inputs[2], rpb, outputs[0]);
    if (const Status status = launch(p, tensors, usable_tactic(p), stream); !status.ok()) throw Refusal(status.reason);
    return kDone;
  });
}

nvinfer1::IPluginV3* NeighborhoodPlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return guarded<nvinfer1::IPluginV3*>(name(), "attachToContext", nullptr, [this] {
    auto attached = std::make_unique<NeighborhoodPlugin>(*this);
    attached->compute_capability_ = current_compute_capability();
    return attached.release();
  });
}

const nvinfer1::PluginFieldCollection* NeighborhoodPlugin::getFieldsToSerialize() noexcept {
  return guarded<const nvinfer1::PluginFieldCollection*>(name(), "getFieldsToSerialize", nullptr, [this] {
    fields_ = fields_of(parameters_);
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    return &collection_;
  });
}

AttentionParameters NeighborhoodPlugin::parameters_at(const PluginTensorDesc* in, const PluginTensorDesc* out) const {
  const Shapes shapes = shapes_of(in, input_count_, out);
  const AttentionParameters p = parameters_from_shapes(parameters_, shapes, data_type_of(in[0].type));
  refuse_if_any(problems(p));
  return p;
}

AttentionParameters NeighborhoodPlugin::profile_point(const DynamicPluginTensorDesc* in, int32_t inputs,
                                                      nvinfer1::Dims DynamicPluginTensorDesc::*point,
                                                      DataType dtype) const {
  return parameters_from_shapes(parameters_, shapes_of(in, inputs, point), dtype);
}

// What the builder chose, where this GPU and these shapes allow it: a plan may run on an older GPU than its builder's.
Tactic NeighborhoodPlugin::usable_tactic(const AttentionParameters& p) const {
  if (tactic_ && reason_against(*tactic_, p, compute_capability_) == nullptr) return *tactic_;
  return preferred_tactic(p, compute_capability_);
}

NeighborhoodPluginCreator::NeighborhoodPluginCreator(Form form)
    : form_(form),
      declared_(declared_fields(form)),
      collection_{static_cast<int32_t>(declared_.size()), declared_.data()} {}

nvinfer1::IPluginV3* NeighborhoodPluginCreator::createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                                             nvinfer1::TensorRTPhase phase) noexcept {
  return guarded<nvinfer1::IPluginV3*>(op_type(form_), "createPlugin", nullptr, [&] {
    return new NeighborhoodPlugin(parameters_from_fields(form_, fields, phase));
  });
}

const nvinfer1::PluginFieldCollection* NeighborhoodPluginCreator::getFieldNames() noexcept { return &collection_; }
const char* NeighborhoodPluginCreator::getPluginName() const noexcept { return op_type(form_).data(); }
const char* NeighborhoodPluginCreator::getPluginVersion() const noexcept { return kPluginVersion.data(); }
const char* NeighborhoodPluginCreator::getPluginNamespace() const noexcept { return kPluginNamespace.data(); }

}  // namespace natdeploy::trt
