/* Neighborhood attention on a GPU, for any language that can call C: libnatdeploy_op.so, CMake target natdeploy::op.
 *
 * Rank 2, no stride, not causal (docs/design.md, section 3, says what is computed). Two-axis values are always in the
 * order height, width. Nothing here allocates device memory, synchronises, or keeps state: every function may be called
 * from any thread, and launches may be captured into a CUDA graph.
 *
 * A function that can refuse returns a sentence, valid for ever, or NULL where all is well.
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

/* What is computed. Set `size` to sizeof(natdeploy_attention): later versions may append fields. */
typedef struct natdeploy_attention {
  uint64_t size;
  int64_t batch;
  int32_t dtype; /* of query, key, value and output; rpb is always float32 */
  int32_t height, width; /* of the feature map */
  int32_t heads, head_dim;
  int32_t kernel_height, kernel_width;
  int32_t dilation_height, dilation_width;
  int32_t has_rpb; /* 0 or 1 */
  float scale; /* multiplies the query */
} natdeploy_attention;

/* Where a [batch, height, width, heads, head_dim] tensor lies: strides in elements, the last axis contiguous. */
typedef struct natdeploy_tensor {
  void* data;
  int64_t batch_stride, row_stride, column_stride, head_stride;
} natdeploy_tensor;

/* NATDEPLOY_OP_ABI_VERSION of the library; another number means another header. */
NATDEPLOY_OP_API int32_t natdeploy_op_abi_version(void);

/* Changes whenever a kernel changes. */
NATDEPLOY_OP_API int32_t natdeploy_op_kernel_version(void);

/* Compute capability of the current device, 80 for 8.0; 0 where there is none. */
NATDEPLOY_OP_API int32_t natdeploy_op_compute_capability(void);

/* Kernel families ("tactics"), by position; their ids never change. id 0 and NULL behind the last. */
NATDEPLOY_OP_API int32_t natdeploy_op_tactic_id(int32_t position);
NATDEPLOY_OP_API const char* natdeploy_op_tactic_name(int32_t position);

/* Why a tactic cannot compute this on a GPU of this compute capability; NULL when it can. */
NATDEPLOY_OP_API const char* natdeploy_op_reason_against(int32_t tactic, const natdeploy_attention* attention,
                                                         int32_t compute_capability);

/* The tactic that is probably fastest; natdeploy_op_reason_against says whether it can do it. */
NATDEPLOY_OP_API int32_t natdeploy_op_preferred_tactic(const natdeploy_attention* attention, int32_t compute_capability);

/* Bytes of device memory that `workspace` must have; 0 when none is needed, or the parameters are invalid. */
NATDEPLOY_OP_API size_t natdeploy_op_workspace_size(const natdeploy_attention* attention, int32_t tactic);

/* The packed form, as a Linear(dim, 3*dim) leaves it: qkv [batch, height, width, 3*heads*head_dim], output [batch, height,
 * width, heads*head_dim], rpb [heads, 2*kernel_height-1, 2*kernel_width-1] or NULL. `stream` is a cudaStream_t. */
NATDEPLOY_OP_API const char* natdeploy_op_launch_packed(const natdeploy_attention* attention, int32_t tactic,
                                                        const void* qkv, const float* rpb, void* output, void* workspace,
                                                        void* stream);

/* Any strides. */
NATDEPLOY_OP_API const char* natdeploy_op_launch(const natdeploy_attention* attention, int32_t tactic,
                                                 const natdeploy_tensor* query, const natdeploy_tensor* key,
                                                 const natdeploy_tensor* value, const float* rpb,
                                                 const natdeploy_tensor* output, void* workspace, void* stream);

#ifdef __cplusplus
}
#endif
#endif /* NATDEPLOY_OP_H */
