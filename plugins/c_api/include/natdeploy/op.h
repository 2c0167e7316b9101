/* Neighborhood attention on a GPU, for any language that can call C: libnatdeploy_op.so, CMake target natdeploy::op.
 *
 * Rank 2, no stride, not causal (docs/design.md, section 3, says what is computed). Two-axis values are always in the
 * order height, width. Sizes are in bytes, strides in elements, extents in tokens. Needs neither CUDA's headers nor its
 * libraries: a `void*` named stream is a cudaStream_t or a CUstream, the two are one.
 *
 * Errors. A function that can refuse returns a sentence, or NULL where all is well. The sentence is a constant of the
 * library: valid until that is unloaded, the same for every thread, never to be freed. NULL from a launch says that the
 * work is on the stream. What goes wrong while it runs (a bad pointer) shows like any kernel's error: at the next
 * synchronisation, and in later calls of this process. No function ends the process or throws.
 *
 * Threads. Every function may be called from any thread at any time; nothing is remembered between calls and there are
 * no locks. Two launches may write the same output only if their streams order them.
 *
 * Devices. Launches and natdeploy_op_compute_capability are about the calling thread's current device (cudaSetDevice or
 * cuCtxSetCurrent, also those of another copy of CUDA's runtime). Stream and tensors must be that device's.
 *
 * Streams. A launch returns at once, and synchronises nothing. NULL is CUDA's legacy default stream, which waits for
 * others: programs compiled for one default stream per thread pass cudaStreamPerThread. All tensors must stay where
 * they are until the stream has passed the launch.
 *
 * CUDA graphs. Launches may be captured. A graph keeps addresses, extents and strides as they were. Do the same launch
 * once outside of a capture first: CUDA loads a kernel when it is first used.
 *
 * Memory. Nothing is allocated on the device, but for what CUDA does itself when a device or a kernel is first used in
 * a process: that takes milliseconds and may synchronise, so do it before what is in a hurry. On the host, launches
 * make small temporary objects.
 *
 * Versions. The SONAME carries NATDEPLOY_OP_ABI_VERSION. Within one version functions are only added, enumerators keep
 * their values, and a struct that begins with `size` grows at the end, where 0 means what it meant before; others stay
 * as they are. So programs run with every later library of that version without being compiled again, and with an older
 * one as long as they leave at 0 what it does not know.
 */
#ifndef NATDEPLOY_OP_H
#define NATDEPLOY_OP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NATDEPLOY_OP_ABI_VERSION 1

#if defined(_WIN32)
#define NATDEPLOY_OP_API
#else
#define NATDEPLOY_OP_API __attribute__((visibility("default")))
#endif

enum { NATDEPLOY_FLOAT32 = 0, NATDEPLOY_FLOAT16 = 1, NATDEPLOY_BFLOAT16 = 2 };

/* What is computed. Begin with all bytes 0 (`natdeploy_attention a = {0};`), then set `size` to
 * sizeof(natdeploy_attention): that is how a library knows which fields the program knew. */
typedef struct natdeploy_attention {
  uint64_t size;
  int64_t batch; /* images; 0 is allowed, and launches nothing */
  int32_t dtype; /* of query, key, value and output; rpb is always float32 */
  int32_t height, width; /* of the feature map, in tokens */
  int32_t heads, head_dim; /* head_dim in elements, at most 256 */
  int32_t kernel_height, kernel_width; /* of the window, in tokens */
  int32_t dilation_height, dilation_width; /* kernel times dilation may not exceed the map */
  int32_t has_rpb; /* 1: a relative positional bias is added to the scores; 0: `rpb` is ignored */
  float scale; /* multiplies the query; usually 1 / sqrt(head_dim) */
  uint32_t reserved; /* 0 */
} natdeploy_attention;

/* Where a [batch, height, width, heads, head_dim] tensor lies in device memory: strides in elements, the last axis
 * contiguous. `data` must be aligned to its element. Tensor-core tactics refuse what is not 16-byte aligned: data, and
 * every stride times the element's size; the generic one takes it, and is faster where it is aligned. */
typedef struct natdeploy_tensor {
  void* data; /* written for the output only */
  int64_t batch_stride, row_stride, column_stride, head_stride;
} natdeploy_tensor;

/* NATDEPLOY_OP_ABI_VERSION of the library. Programs that open it by name compare it with theirs; for those that are
 * linked, the SONAME has done so. Needs no GPU. */
NATDEPLOY_OP_API int32_t natdeploy_op_abi_version(void);

/* Changes whenever a kernel changes: measurements of one are not those of another. Needs no GPU. */
NATDEPLOY_OP_API int32_t natdeploy_op_kernel_version(void);

/* Compute capability of the current device, 80 for 8.0; 0 where there is none, or no driver. Initialises CUDA where
 * that has not happened: ask once and keep the answer. */
NATDEPLOY_OP_API int32_t natdeploy_op_compute_capability(void);

/* Kernel families ("tactics"), by position from 0; ids may be stored, they never change their meaning. Behind the last,
 * the id is 0 and the name NULL. The first takes all that any of them takes. Need no GPU. */
NATDEPLOY_OP_API int32_t natdeploy_op_tactic_id(int32_t position);
NATDEPLOY_OP_API const char* natdeploy_op_tactic_name(int32_t position);

/* Why a tactic cannot compute this on a GPU of this compute capability; NULL when it can. Needs no GPU. */
NATDEPLOY_OP_API const char* natdeploy_op_reason_against(int32_t tactic, const natdeploy_attention* attention,
                                                         int32_t compute_capability);

/* Id of the tactic that is probably fastest, of those that can do it; the first where none can. Assumes aligned
 * tensors. Needs no GPU. */
NATDEPLOY_OP_API int32_t natdeploy_op_preferred_tactic(const natdeploy_attention* attention,
                                                       int32_t compute_capability);

/* Bytes of device memory that `workspace` must have for a launch; 0 when none is needed (NULL will do), or the
 * parameters are invalid. Depends on nothing but the arguments, and no smaller batch needs more. Needs no GPU. */
NATDEPLOY_OP_API size_t natdeploy_op_workspace_size(const natdeploy_attention* attention, int32_t tactic);

/* Launches the packed form, as a Linear(dim, 3*dim) leaves it. All are in device memory, dense and row-major:
 *   qkv        [batch, height, width, 3*heads*head_dim]: query, key, value, each heads*head_dim
 *   rpb        [heads, 2*kernel_height-1, 2*kernel_width-1], float32; may be NULL where has_rpb is 0
 *   output     [batch, height, width, heads*head_dim]; may not overlap an input
 *   workspace  natdeploy_op_workspace_size bytes, aligned to 256 as cudaMalloc gives them; in use until the stream has
 *              passed the launch, so launches that may overlap need one each
 *   stream     a cudaStream_t of the current device */
NATDEPLOY_OP_API const char* natdeploy_op_launch_packed(const natdeploy_attention* attention, int32_t tactic,
                                                        const void* qkv, const float* rpb, void* output,
                                                        void* workspace, void* stream);

/* The same for tensors of any strides. The structs themselves are read before it returns. */
NATDEPLOY_OP_API const char* natdeploy_op_launch(const natdeploy_attention* attention, int32_t tactic,
                                                 const natdeploy_tensor* query, const natdeploy_tensor* key,
                                                 const natdeploy_tensor* value, const float* rpb,
                                                 const natdeploy_tensor* output, void* workspace, void* stream);

#ifdef __cplusplus
}
#endif
#endif /* NATDEPLOY_OP_H */
