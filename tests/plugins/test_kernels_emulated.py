"""The real kernel bodies, executed on the CPU in shuffled thread order, against the float64 reference.

plugins/emulation runs every CUDA thread as a fiber. Shared memory starts as NaN and cp.async lands at the wait, so a
missing barrier shows in the numbers; AddressSanitizer and UBSan watch a second build.
"""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from ops.cases import Array, Case, select
from plugins.kernel_program import PLUGINS, SANITIZED, KernelFault, KernelProgram, build
from plugins.tensor_core_cases import HEAD_DIM_32, HEAD_DIM_64
from plugins.whole_map_cases import MAP_CASES_32, MAP_CASES_64, SHARED_CASES_32

from natdeploy.ops import torch_op
from natdeploy.ops.reference import neighborhood_attention
from natdeploy.ops.spec import OP_TOLERANCE, TENSOR_DTYPES

CASES = select(rank=2, strided=False, causal=False)

# Half a unit in the last place of the output: what rounding a float32 result costs.
ROUNDING = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
INSIDE = 2e-5  # of the float32 arithmetic before it


def random_case(seed: int) -> Case:
    """Draw a map, a window that fits it and a head_dim, none of them round."""
    rng = np.random.default_rng(seed)
    kernel_size = tuple(int(k) for k in rng.integers(1, 10, 2))
    dilation = tuple(int(d) for d in rng.integers(1, 4, 2))
    extents = tuple(int(k * d + rng.integers(0, 8)) for k, d in zip(kernel_size, dilation, strict=True))
    return Case(
        extents,
        kernel_size,
        dilation,
        has_rpb=bool(rng.integers(2)),
        batch=int(rng.integers(1, 3)),
        heads=int(rng.integers(1, 4)),
        head_dim=int(rng.choice([1, 3, 7, 8, 12, 16, 20, 31, 32, 40, 48, 63, 64, 80, 96, 128])),
        seed=seed,
    )


def random_mma_case(seed: int, tactic: str) -> Case:
    """Draw a case that a tensor-core kernel takes: some groups of a tile or less, some of many."""
    rng = np.random.default_rng([seed, 1])
    kernel_size = tuple(int(k) for k in rng.integers(1, 12, 2))
    if tactic == "tensor_core":
        kernel_size = (int(rng.choice([3, 5, 7, 9, 11, 13])),) * 2
    dilation = tuple(int(d) for d in rng.integers(1, 4, 2))
    extents = tuple(int(k * d + rng.integers(0, 9)) for k, d in zip(kernel_size, dilation, strict=True))
    return Case(
        extents,
        kernel_size,
        dilation,
        has_rpb=bool(rng.integers(2)),
        batch=int(rng.integers(1, 6)),
        heads=int(rng.integers(1, 3)),
        head_dim=int(rng.choice([32, 64])) if kernel_size[0] < 13 else 32,
        seed=seed,
    )


def assert_close(found: Array, expected: Array, dtype: str) -> None:
    """Check against the reference: float32 inside, rounded once."""
    assert found.shape == expected.shape
    error = np.abs(found - expected)
    assert np.all(error <= INSIDE + ROUNDING[dtype] * np.abs(expected)), f"worst error {error.max():.2e}"
    assert error.max(initial=0) <= OP_TOLERANCE[dtype]


def own_error_of_pytorch(case: Case, dtype: str) -> float:
    """Give the worst error of PyTorch's operators on the same inputs, in the same dtype."""
    query, key, value, rpb = case.tensors_in(dtype)
    inputs = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in (query, key, value))
    n = case.neighborhood
    bias = None if rpb is None else torch.from_numpy(rpb)
    found = torch_op.neighborhood_attention(*inputs, bias, n.kernel_size, n.dilation, n.stride, n.is_causal, n.scale)
    return float(np.abs(found.double().numpy() - case.expected(dtype)).max())


def assert_as_close_as_pytorch(found: Array, case: Case, dtype: str) -> None:
    """Check a kernel that rounds softmax weights to ``dtype``; worst seen: 1.3 times PyTorch's error."""
    error = np.abs(found - case.expected(dtype)).max()
    assert error <= 2 * own_error_of_pytorch(case, dtype)  # fails for NaN as well
    assert error <= OP_TOLERANCE[dtype]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> KernelProgram:
    return build(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def sanitized_program(tmp_path_factory: pytest.TempPathFactory) -> KernelProgram:
    return build(tmp_path_factory.mktemp("kernels_sanitized"), SANITIZED)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_scalar_code_agrees_with_the_reference(program: KernelProgram, case: Case):
    layout = "heads_first" if case.heads_first else "packed"
    assert_close(program.run(case, "float32", "scalar", layout), case.expected(), "float32")


@pytest.mark.parametrize("dtype", TENSOR_DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_generic_kernel_agrees_with_the_reference(program: KernelProgram, case: Case, dtype: str):
    layout = "heads_first" if case.heads_first else "packed"
    assert_close(program.run(case, dtype, "generic", layout, seed=1), case.expected(dtype), dtype)


@pytest.mark.parametrize("seed", range(12))
def test_generic_kernel_on_random_shapes(program: KernelProgram, seed: int):
    case = random_case(seed)
    dtype = TENSOR_DTYPES[seed % 3]
    layout = ("packed", "split", "heads_first", "misaligned")[seed % 4]
    assert_close(program.run(case, dtype, "generic", layout, seed), case.expected(dtype), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_generic_kernel_on_random_shapes_under_sanitizers(sanitized_program: KernelProgram, seed: int):
    case = random_case(seed)
    dtype = TENSOR_DTYPES[seed % 3]
    layout = ("packed", "split", "heads_first", "misaligned")[seed % 4]
    assert_close(sanitized_program.run(case, dtype, "generic", layout, seed), case.expected(dtype), dtype)


@pytest.mark.parametrize("dtype", TENSOR_DTYPES)
@pytest.mark.parametrize("head_dim", [130, 160, 256])
def test_generic_kernel_takes_large_heads(program: KernelProgram, head_dim: int, dtype: str):
    case = Case((5, 6), (3, 4), has_rpb=True, heads=1, head_dim=head_dim)
    assert_close(program.run(case, dtype, "generic", seed=2), case.expected(dtype), dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scores_beyond_the_range_of_float16_do_not_overflow(program: KernelProgram, dtype: str):
    case = Case((7, 9), (3, 5), has_rpb=True, head_dim=32)
    tensors = case.tensors_in(dtype)
    large = tensors._replace(query=tensors.query * 256, key=tensors.key * 256)  # scores up to 2e6, exact scaling
    expected = neighborhood_attention(*large, case.neighborhood)
    found = program.run_tensors(case, large, dtype, "generic")
    assert np.abs(large.query * large.key).max() > np.finfo(np.float16).max
    assert_close(found, expected, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", HEAD_DIM_32, ids=str)
def test_tensor_core_kernel_agrees_with_the_reference(program: KernelProgram, case: Case, dtype: str):
    assert_as_close_as_pytorch(program.run(case, dtype, "tensor_core", seed=1), case, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("case", [*HEAD_DIM_32, *HEAD_DIM_64], ids=str)
def test_tensor_core_kernel_under_sanitizers(sanitized_program: KernelProgram, case: Case, seed: int):
    dtype = ("float16", "bfloat16")[seed % 2]
    layout = ("packed", "split", "heads_first")[(case.batch + seed) % 3]
    assert_as_close_as_pytorch(sanitized_program.run(case, dtype, "tensor_core", layout, seed), case, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", [*MAP_CASES_32, *SHARED_CASES_32], ids=str)
def test_whole_map_kernel_agrees_with_the_reference(program: KernelProgram, case: Case, dtype: str):
    layout = "heads_first" if case.heads_first else "packed"
    assert_as_close_as_pytorch(program.run(case, dtype, "whole_map", layout, seed=1), case, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("case", [*MAP_CASES_32, *MAP_CASES_64], ids=str)
def test_whole_map_kernel_under_sanitizers(sanitized_program: KernelProgram, case: Case, seed: int):
    dtype = ("float16", "bfloat16")[seed % 2]
    layout = ("packed", "split", "heads_first")[(case.batch + seed) % 3]
    assert_as_close_as_pytorch(sanitized_program.run(case, dtype, "whole_map", layout, seed), case, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("tactic", ["tensor_core", "whole_map"])
@pytest.mark.parametrize("seed", range(200, 220))
def test_mma_kernels_on_random_shapes_under_sanitizers(sanitized_program: KernelProgram, seed: int, tactic: str):
    case = random_mma_case(seed, tactic)
    dtype = ("float16", "bfloat16")[seed % 2]
    layout = ("packed", "split", "heads_first")[seed % 3]
    assert_as_close_as_pytorch(sanitized_program.run(case, dtype, tactic, layout, seed), case, dtype)


@pytest.mark.parametrize("tactic", ["tensor_core", "whole_map"])
def test_mma_scores_beyond_the_range_of_float16_do_not_overflow(program: KernelProgram, tactic: str):
    case = replace(HEAD_DIM_32[1], batch=2)
    tensors = case.tensors_in("float16")
    large = tensors._replace(query=tensors.query * 256, key=tensors.key * 256)
    expected = neighborhood_attention(*large, case.neighborhood)
    found = program.run_tensors(case, large, "float16", tactic)
    assert np.abs(found - expected).max() <= OP_TOLERANCE["float16"]


@pytest.mark.parametrize(
    ("tactic", "case", "dtype", "layout", "reason"),
    [
        ("tensor_core", Case((8, 9), (3, 3), head_dim=32), "float32", "packed", "float16 and bfloat16"),
        ("tensor_core", Case((8, 9), (3, 3), head_dim=24), "float16", "packed", "head_dim 32 and 64"),
        ("tensor_core", Case((8, 9), (3, 5), head_dim=32), "float16", "packed", "square windows"),
        ("tensor_core", Case((8, 9), (4, 4), head_dim=32), "float16", "packed", "square windows"),
        ("tensor_core", Case((14, 13), (13, 13), head_dim=64), "float16", "packed", "does not fit shared memory"),
        ("tensor_core", Case((8, 9), (3, 3), head_dim=32), "float16", "misaligned", "multiples of 16 bytes"),
        ("whole_map", Case((8, 9), (3, 3), head_dim=32), "float32", "packed", "float16 and bfloat16"),
        ("whole_map", Case((8, 9), (3, 3), head_dim=128), "bfloat16", "packed", "head_dim 32 and 64"),
        ("whole_map", Case((28, 19), (3, 3), head_dim=32), "float16", "packed", "does not fit shared memory"),
        ("whole_map", Case((8, 9), (3, 3), head_dim=32), "float16", "misaligned", "multiples of 16 bytes"),
    ],
    ids=str,
)
def test_mma_kernels_say_what_they_cannot_do(
    program: KernelProgram, tactic: str, case: Case, dtype: str, layout: str, reason: str
):
    with pytest.raises(KernelFault, match=reason):
        program.run(case, dtype, tactic, layout)


@pytest.mark.parametrize(
    "case",
    [
        Case((9, 8), (5, 5), has_rpb=True, head_dim=24),  # generic
        Case((9, 8), (5, 5), has_rpb=True, head_dim=32),  # whole map
        Case((17, 22), (5, 5), has_rpb=True, head_dim=32),  # tensor core
    ],
    ids=str,
)
def test_the_preferred_tactic_computes_the_operator(program: KernelProgram, case: Case):
    assert_as_close_as_pytorch(program.run(case, "float16", "preferred"), case, "float16")


def test_the_order_of_threads_changes_nothing(program: KernelProgram):
    case = replace(CASES[1], batch=2)
    for tactic in ("generic", "tensor_core", "whole_map"):
        first, *others = (program.run(case, "float16", tactic, seed=seed).tobytes() for seed in range(4))
        assert all(other == first for other in others)


def test_the_operator_knows_no_framework():
    forbidden = re.compile(r"#\s*include.*(NvInfer|onnxruntime|torch|ATen)", re.IGNORECASE)
    sources = [path for path in (PLUGINS / "op").rglob("*") if path.is_file()]
    assert len(sources) > 8
    assert [path.name for path in sources if forbidden.search(path.read_text())] == []
