// Stands in for ONNX Runtime's header of this name where just its C header can be had: the classes and functions that
// plugins/examples/classify_onnxruntime.cpp uses, with the same names and meaning, over the real C API.
#pragma once

#include <onnxruntime_c_api.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace Ort {

inline const OrtApi& GetApi() {
  static const OrtApi* const api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (api == nullptr) throw std::runtime_error("the library is older than the header");
  return *api;
}

inline void ThrowOnError(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = GetApi().GetErrorMessage(status);
  GetApi().ReleaseStatus(status);
  throw std::runtime_error(message);
}

namespace detail {

inline void release(OrtEnv* p) { GetApi().ReleaseEnv(p); }
inline void release(OrtSession* p) { GetApi().ReleaseSession(p); }
inline void release(OrtSessionOptions* p) { GetApi().ReleaseSessionOptions(p); }
inline void release(OrtRunOptions* p) { GetApi().ReleaseRunOptions(p); }
inline void release(OrtValue* p) { GetApi().ReleaseValue(p); }
inline void release(OrtMemoryInfo* p) { GetApi().ReleaseMemoryInfo(p); }
inline void release(OrtModelMetadata* p) { GetApi().ReleaseModelMetadata(p); }
inline void release(OrtTypeInfo* p) { GetApi().ReleaseTypeInfo(p); }

// Owns one object of the C API.
template <class Object>
class Owner {
 public:
  Owner() = default;
  explicit Owner(Object* object) : object_(object) {}
  Owner(Owner&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  ~Owner() {
    if (object_ != nullptr) release(object_);
  }
  operator Object*() { return object_; }
  operator const Object*() const { return object_; }

 protected:
  Object* object_ = nullptr;
};

struct Free {
  OrtAllocator* allocator;
  void operator()(void* data) const { allocator->Free(allocator, data); }
};

}  // namespace detail

using AllocatedStringPtr = std::unique_ptr<char, detail::Free>;

class AllocatorWithDefaultOptions {
 public:
  AllocatorWithDefaultOptions() { ThrowOnError(GetApi().GetAllocatorWithDefaultOptions(&allocator_)); }
  operator OrtAllocator*() { return allocator_; }

 private:
  OrtAllocator* allocator_ = nullptr;
};

struct Env : detail::Owner<OrtEnv> {
  Env(OrtLoggingLevel level, const char* name) { ThrowOnError(GetApi().CreateEnv(level, name, &object_)); }
};

struct SessionOptions : detail::Owner<OrtSessionOptions> {
  SessionOptions() { ThrowOnError(GetApi().CreateSessionOptions(&object_)); }
};

struct RunOptions : detail::Owner<OrtRunOptions> {
  RunOptions() { ThrowOnError(GetApi().CreateRunOptions(&object_)); }
};

struct ModelMetadata : detail::Owner<OrtModelMetadata> {
  using Owner::Owner;
  AllocatedStringPtr LookupCustomMetadataMapAllocated(const char* key, OrtAllocator* allocator) const {
    char* text = nullptr;
    ThrowOnError(GetApi().ModelMetadataLookupCustomMetadataMap(object_, allocator, key, &text));
    return AllocatedStringPtr(text, {allocator});
  }
};

class TensorTypeAndShapeInfo {  // belongs to a TypeInfo
 public:
  explicit TensorTypeAndShapeInfo(const OrtTensorTypeAndShapeInfo* info) : info_(info) {}
  std::vector<int64_t> GetShape() const {
    size_t rank = 0;
    ThrowOnError(GetApi().GetDimensionsCount(info_, &rank));
    std::vector<int64_t> shape(rank);
    ThrowOnError(GetApi().GetDimensions(info_, shape.data(), rank));
    return shape;
  }

 private:
  const OrtTensorTypeAndShapeInfo* info_;
};

struct TypeInfo : detail::Owner<OrtTypeInfo> {
  using Owner::Owner;
  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const {
    const OrtTensorTypeAndShapeInfo* info = nullptr;
    ThrowOnError(GetApi().CastTypeInfoToTensorInfo(object_, &info));
    return TensorTypeAndShapeInfo(info);
  }
};

struct MemoryInfo : detail::Owner<OrtMemoryInfo> {
  using Owner::Owner;
  static MemoryInfo CreateCpu(OrtAllocatorType type, OrtMemType memory) {
    OrtMemoryInfo* info = nullptr;
    ThrowOnError(GetApi().CreateCpuMemoryInfo(type, memory, &info));
    return MemoryInfo(info);
  }
};

struct Value : detail::Owner<OrtValue> {
  using Owner::Owner;
  static Value CreateTensor(const OrtMemoryInfo* info, void* data, size_t bytes, const int64_t* shape, size_t rank,
                            ONNXTensorElementDataType type) {
    OrtValue* value = nullptr;
    ThrowOnError(GetApi().CreateTensorWithDataAsOrtValue(info, data, bytes, shape, rank, type, &value));
    return Value(value);
  }
  template <class Number>
  static Value CreateTensor(const OrtMemoryInfo* info, Number* data, size_t count, const int64_t* shape, size_t rank) {
    static_assert(sizeof(Number) == sizeof(float));
    return CreateTensor(info, data, count * sizeof(Number), shape, rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
  }
};
static_assert(sizeof(Value) == sizeof(OrtValue*), "arrays of values are passed on as arrays of pointers");

struct Session : detail::Owner<OrtSession> {
  Session(Env& env, const char* path, const SessionOptions& options) {
    ThrowOnError(GetApi().CreateSession(env, path, options, &object_));
  }
  ModelMetadata GetModelMetadata() const {
    OrtModelMetadata* metadata = nullptr;
    ThrowOnError(GetApi().SessionGetModelMetadata(object_, &metadata));
    return ModelMetadata(metadata);
  }
  size_t GetOutputCount() const {
    size_t count = 0;
    ThrowOnError(GetApi().SessionGetOutputCount(object_, &count));
    return count;
  }
  AllocatedStringPtr GetOutputNameAllocated(size_t index, OrtAllocator* allocator) const {
    char* name = nullptr;
    ThrowOnError(GetApi().SessionGetOutputName(object_, index, allocator, &name));
    return AllocatedStringPtr(name, {allocator});
  }
  TypeInfo GetOutputTypeInfo(size_t index) const {
    OrtTypeInfo* info = nullptr;
    ThrowOnError(GetApi().SessionGetOutputTypeInfo(object_, index, &info));
    return TypeInfo(info);
  }
  void Run(const RunOptions& options, const char* const* input_names, const Value* inputs, size_t input_count,
           const char* const* output_names, Value* outputs, size_t output_count) {
    const auto* given = reinterpret_cast<const OrtValue* const*>(inputs);
    auto* results = reinterpret_cast<OrtValue**>(outputs);
    ThrowOnError(
        GetApi().Run(object_, options, input_names, given, input_count, output_names, output_count, results));
  }
};

}  // namespace Ort
