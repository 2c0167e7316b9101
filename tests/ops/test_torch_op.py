"""The torch ops against the float64 reference: every case, every dtype, both forms; gradients; export readiness."""

import numpy as np
import pytest
import torch
from ops.cases import CASES, SHORT_DTYPES, Case
from torch import Tensor

from natdeploy.ops import torch_op
from natdeploy.ops.reference import neighborhood_attention
from natdeploy.ops.spec import OP_TOLERANCE, Neighborhood

SPLIT = torch.ops.natdeploy.neighborhood_attention.default
PACKED = torch.ops.natdeploy.packed_neighborhood_attention.default

# Everything is float32 inside, so a half type may lose half a unit in the last place of the output, and no more.
ROUNDING = {"float64": 0.0, "float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
INSIDE = {"float64": 1e-13, "float32": 4e-6, "float16": 4e-6, "bfloat16": 4e-6}  # float32: worst seen 1.1e-6

SMALL = [
    Case((5, 6), (3, 4), has_rpb=True, heads=2, head_dim=3, batch=2),
    Case((7, 4), (3, 2), (2, 1), has_rpb=True, heads=1, head_dim=2),
    Case((6, 5), (3, 4), stride=(2, 3), is_causal=(0, 1), head_dim=2),
    Case((9,), (4,), (2,), has_rpb=True, head_dim=3, heads_first=True),
    Case((3, 4, 5), (2, 3, 2), (1, 1, 2), is_causal=(1, 0, 0), heads=1, head_dim=2),
]


def attributes(neighborhood: Neighborhood) -> tuple:
    causal = [int(c) for c in neighborhood.is_causal]
    return neighborhood.kernel_size, neighborhood.dilation, neighborhood.stride, causal, neighborhood.scale


def split_arguments(case: Case, dtype: str) -> tuple:
    query, key, value, rpb = case.tensors()
    tensors = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in (query, key, value))
    return *tensors, None if rpb is None else torch.from_numpy(rpb), *attributes(case.neighborhood)


def packed_arguments(case: Case, dtype: str) -> tuple:
    tensors = case.tensors()
    qkv = torch.from_numpy(tensors.packed()).to(getattr(torch, dtype))
    rpb = None if tensors.rpb is None else torch.from_numpy(tensors.rpb)
    return qkv, rpb, case.heads, *attributes(case.neighborhood)


def assert_close(found: Tensor, case: Case, dtype: str):
    expected = case.expected(dtype)
    assert found.dtype == getattr(torch, dtype)
    assert found.numel() == expected.size
    error = np.abs(found.double().numpy().reshape(expected.shape) - expected)
    assert np.all(error <= INSIDE[dtype] + ROUNDING[dtype] * np.abs(expected)), f"worst error {error.max():.2e}"
    if dtype in OP_TOLERANCE:
        assert error.max(initial=0) <= OP_TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", SHORT_DTYPES, ids=SHORT_DTYPES.get)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_the_reference(case: Case, dtype: str):
    found = SPLIT(*split_arguments(case, dtype))
    assert found.shape == (case.batch, *case.extents, case.heads, case.head_dim)
    assert_close(found, case, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16"], ids=SHORT_DTYPES.get)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_packed_form_agrees_with_the_reference(case: Case, dtype: str):
    found = PACKED(*packed_arguments(case, dtype))
    assert found.shape == (case.batch, *case.extents, case.heads * case.head_dim)
    assert_close(found, case, dtype)


def test_maps_larger_than_a_chunk_agree_with_one_chunk(monkeypatch: pytest.MonkeyPatch):
    case = Case((17, 33), (7, 5), has_rpb=True)
    monkeypatch.setattr(torch_op, "_CHUNK_ELEMENTS", 100 * 35 * 32)  # 561 tokens by hundreds: the last chunk is short
    assert_close(SPLIT(*split_arguments(case, "float32")), case, "float32")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"], ids=SHORT_DTYPES.get)
def test_scores_beyond_the_range_of_float16_do_not_overflow(dtype: str):
    case = Case((9, 11), (5, 3), has_rpb=True, head_dim=32)
    query, key, value, rpb = case.tensors_in(dtype)
    query, key = query * 256, key * 256  # exact in both types; the largest score is near 180 000
    neighborhood = case.neighborhood
    scores = np.einsum("bhwnd,bhwnd->bhwn", query, key) * neighborhood.scale
    assert np.abs(scores).max() > 2 * 65504
    tensors = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in (query, key, value))
    found = SPLIT(*tensors, torch.from_numpy(rpb), *attributes(neighborhood)).double().numpy()
    expected = neighborhood_attention(query, key, value, rpb, neighborhood)
    # Sums this large are exact to some 0.03 in float32: neighbours as close as that may share differently.
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= 0.03 * np.abs(value).max()


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_gradients_are_those_of_finite_differences(case: Case):
    query, key, value, rpb, *rest = split_arguments(case, "float64")
    inputs = [x.clone().requires_grad_() for x in (query, key, value)]
    rpb = None if rpb is None else rpb.double().requires_grad_()
    wanted = [*inputs, rpb] if rpb is not None else inputs
    assert torch.autograd.gradcheck(lambda *x: SPLIT(*x[:3], rpb, *rest), wanted, fast_mode=True)

    qkv, packed_rpb, *rest = packed_arguments(case, "float64")
    packed_rpb = None if packed_rpb is None else packed_rpb.double().requires_grad_()
    wanted = [qkv.requires_grad_()] + ([] if packed_rpb is None else [packed_rpb])
    assert torch.autograd.gradcheck(lambda *x: PACKED(x[0], packed_rpb, *rest), wanted, fast_mode=True)


@pytest.mark.parametrize("op", [SPLIT, PACKED], ids=["split", "packed"])
@pytest.mark.parametrize("case", SMALL[:2], ids=str)
def test_ops_pass_the_checks_of_torch(op: torch._ops.OpOverload, case: Case):
    arguments = split_arguments(case, "float32") if op is SPLIT else packed_arguments(case, "float32")
    arguments = [x.requires_grad_() if isinstance(x, Tensor) else x for x in arguments]
    result = torch.library.opcheck(op, tuple(arguments))
    assert set(result.values()) == {"SUCCESS"}


def test_shape_rule_puts_no_guard_on_sizes():
    class Layer(torch.nn.Module):
        def forward(self, qkv: Tensor, rpb: Tensor) -> Tensor:
            return torch.ops.natdeploy.packed_neighborhood_attention(qkv, rpb, 2, [3, 3], [1, 1], [1, 1], [0, 0], 0.5)

    batch, height, width = (torch.export.Dim(name, min=1, max=64) for name in ("batch", "height", "width"))
    example = torch.zeros(2, 5, 6, 3 * 2 * 4), torch.zeros(2, 5, 5)
    shapes = ({0: batch, 1: height, 2: width}, None)
    program = torch.export.export(Layer(), example, dynamic_shapes=shapes)  # a guard would raise here
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert targets == [PACKED]  # opaque: one node


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kernel_size": (7, 3)}, "exceeds the map's extent"),
        ({"stride": (4, 1)}, "must lie between 1 and kernel_size"),
        ({"is_causal": (1, 0)}, "relative positional bias is not defined"),
    ],
    ids=str,
)
def test_what_the_contract_forbids_is_refused(changes: dict, problem: str):
    query, key, value, rpb, *_ = split_arguments(Case((6, 8), (3, 3), has_rpb=True), "float32")
    with pytest.raises(ValueError, match=problem):
        SPLIT(
            query,
            key,
            value,
            rpb,
            *attributes(Neighborhood.of(**{"kernel_size": (3, 3), "scale": 1.0} | changes)),
        )
