// The operator as a TensorRT plugin: one class for both op types, and their creators.
#pragma once

#include <NvInferRuntime.h>

#include <optional>
#include <string>
#include <vector>

#include "op/launch.h"
#include "op/parameters.h"
#include "tensorrt/plugin_parameters.h"
#include "tensorrt/shapes.h"

namespace natdeploy::trt {

// Core, build and runtime capabilities in one object. Nothing here touches a GPU but attachToContext, onShapeChange and
// enqueue: parsers and GPU-less builders call the rest.
class NeighborhoodPlugin final : public nvinfer1::IPluginV3,
                                 public nvinfer1::IPluginV3OneCore,
                                 public nvinfer1::IPluginV3OneBuild,
                                 public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit NeighborhoodPlugin(const PluginParameters& parameters);
  NeighborhoodPlugin(const NeighborhoodPlugin& other);
  NeighborhoodPlugin& operator=(const NeighborhoodPlugin&) = delete;
  ~NeighborhoodPlugin() override = default;

  // IPluginV3
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  // Core
  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;

  // Build
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::DynamicPluginTensorDesc* out, int32_t outputs) noexcept override;
  int32_t getOutputDataTypes(nvinfer1::DataType* output_types, int32_t outputs, const nvinfer1::DataType* input_types,
                             int32_t inputs) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* in, int32_t inputs, const nvinfer1::DimsExprs* shape_inputs,
                          int32_t shape_input_count, nvinfer1::DimsExprs* out, int32_t outputs,
                          nvinfer1::IExprBuilder& expressions) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* in_out, int32_t inputs,
                                 int32_t outputs) noexcept override;
  int32_t getNbOutputs() const noexcept override;
  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::DynamicPluginTensorDesc* out, int32_t outputs) const noexcept override;
  int32_t getValidTactics(int32_t* tactics, int32_t count) noexcept override;
  int32_t getNbTactics() noexcept override;
  const char* getTimingCacheID() noexcept override;
  const char* getMetadataString() noexcept override;

  // Runtime
  int32_t setTactic(int32_t tactic) noexcept override;
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t inputs, const nvinfer1::PluginTensorDesc* out,
                        int32_t outputs) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 private:
  AttentionParameters parameters_at(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out) const;
  AttentionParameters profile_point(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                                    nvinfer1::Dims nvinfer1::DynamicPluginTensorDesc::*point, DataType dtype) const;
  Tactic usable_tactic(const AttentionParameters& parameters) const;
  std::string_view name() const { return op_type(parameters_.form); }

  PluginParameters parameters_;
  std::string timing_cache_id_;
  std::string metadata_;
  std::vector<nvinfer1::PluginField> fields_;  // point into parameters_: a copy makes its own
  nvinfer1::PluginFieldCollection collection_{};
  std::optional<AttentionParameters> configured_;  // what the builder optimizes for
  std::optional<Tactic> tactic_;
  int32_t input_count_ = 0;     // known since configurePlugin or onShapeChange; enqueue is not told
  int compute_capability_ = 0;  // of the context's device; 0 until attachToContext or onShapeChange
};

class NeighborhoodPluginCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  explicit NeighborhoodPluginCreator(Form form);

  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;

 private:
  Form form_;
  std::vector<nvinfer1::PluginField> declared_;
  nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace natdeploy::trt
