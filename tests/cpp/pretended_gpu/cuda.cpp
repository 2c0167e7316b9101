// The part of CUDA's runtime that plugins/examples/classify.cpp calls, on host memory. Stricter than a GPU where that
// shows mistakes: copies to the "GPU" and the network read when work is put on a stream, as late writes would come too
// late; copies back arrive when the stream is waited for, as early reads would come too early.
#include "cuda.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace {

struct Memory {
  size_t bytes;
  bool pinned;
};

std::map<char*, Memory> memories;

long wish(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atol(text) : otherwise;
}

cudaError_t allocate(void** data, size_t bytes, bool pinned) {
  if (!pinned && static_cast<long>(bytes) > wish("PRETENDED_MEMORY", 1L << 40)) return cudaErrorMemoryAllocation;
  *data = std::malloc(bytes);
  std::memset(*data, 0xFF, bytes);  // NaN
  memories[static_cast<char*>(*data)] = {bytes, pinned};
  return cudaSuccess;
}

cudaError_t release(void* data, bool pinned) {
  if (data == nullptr) return cudaSuccess;
  const auto found = memories.find(static_cast<char*>(data));
  pretended::require(found != memories.end() && found->second.pinned == pinned, "memory is freed that is not there");
  memories.erase(found);
  std::free(data);
  return cudaSuccess;
}

struct Leaks {
  ~Leaks() {
    if (memories.empty()) return;
    std::fprintf(stderr, "pretended GPU: memory was not freed\n");
    std::_Exit(70);
  }
} leaks;

}  // namespace

namespace pretended {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "pretended GPU: %s\n", what);
  std::_Exit(70);
}

void require_memory(const void* data, size_t bytes, bool pinned) {
  const char* start = static_cast<const char*>(data);
  auto found = memories.upper_bound(const_cast<char*>(start));
  require(found != memories.begin(), "an address is of no memory");
  --found;
  require(found->second.pinned == pinned && start + bytes <= found->first + found->second.bytes,
          "an address is of other memory, or memory ends too early");
}

void submit(cudaStream_t stream, const Work& work) {
  if (stream->capturing) {
    stream->recorded.push_back(work);
  } else {
    work(stream);
  }
}

}  // namespace pretended

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(wish("PRETENDED_GPUS", 1));
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {  // of an H100
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "no CUDA-capable device is detected";
}

cudaError_t cudaMalloc(void** data, size_t bytes) { return allocate(data, bytes, false); }
cudaError_t cudaFree(void* data) { return release(data, false); }
cudaError_t cudaMallocHost(void** data, size_t bytes) { return allocate(data, bytes, true); }
cudaError_t cudaFreeHost(void* data) { return release(data, true); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  *stream = new CUstream_st;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  pretended::require(!stream->capturing, "a stream is waited for while it records");
  for (const pretended::Work& work : stream->pending) work(stream);
  stream->pending.clear();
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  pretended::submit(stream, [=](cudaStream_t on) {
    const bool up = kind == cudaMemcpyHostToDevice;
    pretended::require(up || kind == cudaMemcpyDeviceToHost, "a copy goes neither up nor down");
    pretended::require_memory(to, bytes, !up);
    pretended::require_memory(from, bytes, up);
    if (up) {
      std::memcpy(to, from, bytes);
    } else {
      const std::vector<char> now(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
      on->pending.push_back([=](cudaStream_t) { std::memcpy(to, now.data(), bytes); });
    }
  });
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  pretended::require(!stream->capturing, "a stream records already");
  stream->capturing = true;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  pretended::require(stream->capturing, "a stream does not record");
  stream->capturing = false;
  *graph = new CUgraph_st{std::move(stream->recorded)};
  stream->recorded.clear();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = new CUgraphExec_st{graph->recorded};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  for (const pretended::Work& work : graph->recorded) pretended::submit(stream, work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  return cudaSuccess;
}

}  // extern "C"
