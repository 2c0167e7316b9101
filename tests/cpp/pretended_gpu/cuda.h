// What the pretended TensorRT needs of the pretended CUDA.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <vector>

namespace pretended {

using Work = std::function<void(cudaStream_t)>;

// Ends the program with status 70, which no user may ever see.
void require(bool condition, const char* what);
void require_memory(const void* data, size_t bytes, bool pinned);
// Records the work where the stream records, else does it.
void submit(cudaStream_t stream, const Work& work);

}  // namespace pretended

struct CUstream_st {
  bool capturing = false;
  std::vector<pretended::Work> recorded;
  std::vector<pretended::Work> pending;  // arrives when the stream is waited for
};

struct CUgraph_st {
  std::vector<pretended::Work> recorded;
};

struct CUgraphExec_st {
  std::vector<pretended::Work> recorded;
};
