// Streams, memory and graphs of CUDA that free themselves, and errors as sentences.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>

#include "problem.h"

namespace natdeploy::examples {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Problem(std::string("CUDA cannot ") + what + ": " + cudaGetErrorString(status) + ".");
}

// The compute capability of the GPU that is used, 9.0 say; refuses a machine without one.
inline std::string compute_capability() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    throw Problem(std::string("No NVIDIA GPU can be used here: ") +
                  (status != cudaSuccess ? cudaGetErrorString(status) : "the driver shows none") + ".");
  }
  int device = 0, major = 0, minor = 0;
  check(cudaGetDevice(&device), "say which GPU is used");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "describe the GPU");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "describe the GPU");
  return std::to_string(major) + "." + std::to_string(minor);
}

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_), "finish the work on its stream"); }

 private:
  cudaStream_t stream_ = nullptr;
};

// On the GPU.
class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) { check(cudaMalloc(&data_, bytes), "allocate memory on the GPU"); }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(DeviceMemory&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* get() const { return data_; }

 private:
  void* data_ = nullptr;
};

// On the host, where copies to and from the GPU run beside the CPU: ordinary memory would make them wait.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes) { check(cudaMallocHost(&data_, bytes), "allocate pinned memory"); }
  ~PinnedMemory() { cudaFreeHost(data_); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  void* get() const { return data_; }

 private:
  void* data_ = nullptr;
};

// What `work` puts on a stream, recorded once, with the addresses that it used, and run with one call thereafter.
class Graph {
 public:
  Graph(const Stream& stream, const std::function<void()>& work) {
    cudaGraph_t recorded = nullptr;
    check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "begin to record a graph");
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream.get(), &recorded);
      cudaGraphDestroy(recorded);
      throw;
    }
    check(cudaStreamEndCapture(stream.get(), &recorded), "record a graph");
    const cudaError_t status = cudaGraphInstantiate(&graph_, recorded, 0);
    cudaGraphDestroy(recorded);
    check(status, "make a graph");
  }
  ~Graph() { cudaGraphExecDestroy(graph_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void launch(const Stream& stream) const { check(cudaGraphLaunch(graph_, stream.get()), "launch a graph"); }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace natdeploy::examples
