/* Calls every function of natdeploy/op.h, with a GPU or without, and prints what a test compares with other sources. */
#include <natdeploy/op.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void expect(int holds, const char* what) {
  if (!holds) printf("failed: %s\n", what);
  failures += !holds;
}

static void expect_sentence(const char* reason, const char* part) {
  expect(reason != NULL && strstr(reason, part) != NULL, part);
}

static natdeploy_attention small_attention(void) {
  natdeploy_attention a = {0};
  a.size = sizeof a;
  a.batch = 1;
  a.dtype = NATDEPLOY_FLOAT16;
  a.height = 9;
  a.width = 14;
  a.heads = 2;
  a.head_dim = 32;
  a.kernel_height = a.kernel_width = 3;
  a.dilation_height = 2;
  a.dilation_width = 3;
  a.scale = 0.25F;
  return a;
}

/* Where no GPU is, a launch must say so; where one is, an empty batch is nothing to do. */
static void launch(natdeploy_attention a, int has_gpu) {
  natdeploy_tensor tensor = {0};
  const char* reason;
  a.batch = 0;
  reason = natdeploy_op_launch_packed(&a, natdeploy_op_tactic_id(0), NULL, NULL, NULL, NULL, NULL);
  expect((reason == NULL) == has_gpu, "launch_packed");
  reason = natdeploy_op_launch(&a, natdeploy_op_tactic_id(0), &tensor, &tensor, &tensor, NULL, &tensor, NULL, NULL);
  expect((reason == NULL) == has_gpu, "launch");
  if (!has_gpu) {
    char memory[16] = {0};
    a.batch = 1;
    reason = natdeploy_op_launch_packed(&a, natdeploy_op_tactic_id(0), memory, NULL, memory, NULL, NULL);
    expect_sentence(reason, "no GPU");
    printf("launch: %s\n", reason);
  }
}

/* A program of a later header: its struct is longer. */
static void send_longer_struct(void) {
  struct {
    natdeploy_attention known;
    int32_t later[2];
  } a;
  memset(&a, 0, sizeof a);
  a.known = small_attention();
  a.known.size = sizeof a;
  expect(natdeploy_op_reason_against(natdeploy_op_tactic_id(0), &a.known, 90) == NULL, "a longer struct of zeros");
  a.later[1] = 7;
  expect_sentence(natdeploy_op_reason_against(natdeploy_op_tactic_id(0), &a.known, 90), "does not know");
}

int main(void) {
  natdeploy_attention a = small_attention();
  const int capability = natdeploy_op_compute_capability();
  int position = 0;
  expect(natdeploy_op_abi_version() == NATDEPLOY_OP_ABI_VERSION, "ABI version");
  printf("kernels: %d\n", (int)natdeploy_op_kernel_version());
  for (; natdeploy_op_tactic_id(position) != 0; ++position) {
    const int tactic = natdeploy_op_tactic_id(position);
    printf("tactic: %s %d\n", natdeploy_op_tactic_name(position), tactic);
    expect(natdeploy_op_reason_against(tactic, &a, 90) == NULL, "a tactic");
    expect(natdeploy_op_workspace_size(&a, tactic) < ((size_t)1 << 30), "workspace");
  }
  expect(natdeploy_op_tactic_name(position) == NULL && natdeploy_op_tactic_name(-1) == NULL, "no more names");
  expect(natdeploy_op_preferred_tactic(&a, 90) != natdeploy_op_tactic_id(0), "tensor cores are preferred");
  expect(natdeploy_op_preferred_tactic(&a, 0) == natdeploy_op_tactic_id(0), "the first without a GPU");
  launch(a, capability != 0);
  send_longer_struct();
  expect_sentence(natdeploy_op_reason_against(77, &a, 90), "unknown tactic");
  expect_sentence(natdeploy_op_reason_against(1, NULL, 90), "NULL");
  a.reserved = 1;
  expect_sentence(natdeploy_op_reason_against(1, &a, 90), "reserved");
  a.size = 60;
  expect_sentence(natdeploy_op_reason_against(1, &a, 90), "sizeof");
  a.size = (uint64_t)1 << 60;
  expect_sentence(natdeploy_op_reason_against(1, &a, 90), "sizeof");
  return failures;
}
