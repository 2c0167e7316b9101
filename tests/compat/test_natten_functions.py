"""natten2dqkrpb and natten2dav: against NATTEN 0.17's numbers, against the reference, and by their gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from natdeploy.compat.natten_functions import natten2dav, natten2dqkrpb
from natdeploy.errors import NatdeployError
from natdeploy.ops.reference import neighborhood_attention, neighbors_along_axis
from natdeploy.ops.spec import Neighborhood

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "golden" / "na2d_rpb.npz")


def heads_first(x: np.ndarray) -> Tensor:
    """``[B, H, W, heads, head_dim]`` to NATTEN 0.17's ``[B, heads, H, W, head_dim]``."""
    return torch.from_numpy(x).permute(0, 3, 1, 2, 4)


def attend(query: Tensor, key: Tensor, value: Tensor, rpb: Tensor | None, kernel: int, dilation: int) -> Tensor:
    """As Hugging Face's code does."""
    scores = natten2dqkrpb(query / query.shape[-1] ** 0.5, key, rpb, kernel, dilation)
    return natten2dav(scores.softmax(-1), value, kernel, dilation)


def random_case(batch: int, height: int, width: int, heads: int, head_dim: int, kernel: int, has_rpb: bool) -> tuple:
    rng = np.random.default_rng([height, width, kernel])
    qkv = rng.standard_normal((3, batch, height, width, heads, head_dim))
    return *qkv, rng.standard_normal((heads, 2 * kernel - 1, 2 * kernel - 1)) if has_rpb else None


@pytest.mark.parametrize("name", sorted({name.split("_")[0] for name in GOLDEN.files}))
def test_attention_through_them_is_what_natten_0_17_gave(name: str):
    kernel, dilation, has_rpb = (int(x) for x in GOLDEN[f"{name}_meta"][5:])
    query, key, value = (heads_first(GOLDEN[f"{name}_{part}"]) for part in ("query", "key", "value"))
    rpb = torch.from_numpy(GOLDEN[f"{name}_rpb"]) if has_rpb else None
    found = attend(query, key, value, rpb, kernel, dilation)
    assert found.dtype == torch.float32
    expected = heads_first(GOLDEN[f"{name}_out"]).numpy()
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize(
    ("shape", "kernel", "dilation", "has_rpb"),
    [
        ((2, 9, 11, 3, 5), 3, 2, True),  # 11 and 9 leave a remainder
        ((1, 13, 10, 2, 4), 3, 3, True),
        ((1, 7, 5, 1, 1), 5, 1, True),  # one axis as long as the window
        ((1, 15, 17, 2, 3), 5, 3, False),
        ((1, 4, 6, 2, 3), 1, 1, True),
        ((0, 6, 7, 2, 3), 3, 1, True),
        ((1, 11, 12, 1, 2), 11, 1, True),
    ],
    ids=str,
)
def test_agrees_with_the_reference(shape: tuple, kernel: int, dilation: int, has_rpb: bool):
    query, key, value, rpb = random_case(*shape, kernel, has_rpb)
    neighborhood = Neighborhood.of((kernel, kernel), shape[-1] ** -0.5, (dilation, dilation))
    expected = heads_first(neighborhood_attention(query, key, value, rpb, neighborhood)).numpy()
    found = attend(
        *(heads_first(x) for x in (query, key, value)),
        None if rpb is None else torch.from_numpy(rpb),
        kernel,
        dilation,
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12, rtol=0)


def test_scores_lie_in_row_order_of_the_window():
    query, key, _, rpb = random_case(1, 8, 7, 2, 3, 3, has_rpb=True)
    scores = natten2dqkrpb(heads_first(query), heads_first(key), torch.from_numpy(rpb), 3, 2)
    assert scores.shape == (1, 2, 8, 7, 9)
    token = (6, 1)
    rows = neighbors_along_axis(token[0], 8, kernel=3, dilation=2)
    columns = neighbors_along_axis(token[1], 7, kernel=3, dilation=2)
    assert (rows, columns) == ([2, 4, 6], [1, 3, 5])
    for head in (0, 1):
        by_hand = [
            query[0, 6, 1, head] @ key[0, row, column, head] + rpb[head, (row - 6) // 2 + 2, (column - 1) // 2 + 2]
            for row in rows
            for column in columns
        ]
        np.testing.assert_allclose(scores[0, head, 6, 1].numpy(), by_hand, rtol=1e-12)


def test_gradients_are_those_of_finite_differences():
    query, key, value, rpb = random_case(1, 5, 7, 2, 2, 3, has_rpb=True)
    inputs = [heads_first(x).requires_grad_() for x in (query, key, value)] + [torch.from_numpy(rpb).requires_grad_()]
    assert torch.autograd.gradcheck(lambda q, k, _, r: natten2dqkrpb(q, k, r, 3, 1), inputs, fast_mode=True)
    assert torch.autograd.gradcheck(lambda q, k, v, r: attend(q, k, v, r, 3, 1), inputs, fast_mode=True)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)], ids=str)
def test_half_types_are_computed_in_float32(dtype: torch.dtype, rounding: float):
    query, key, value, rpb = random_case(1, 9, 6, 2, 16, 5, has_rpb=True)
    query, key, value = (heads_first(x).to(dtype) for x in (query, key, value))
    bias = torch.from_numpy(rpb).to(dtype)
    scores = natten2dqkrpb(query, key, bias, 5, 1)
    exact = natten2dqkrpb(query.double(), key.double(), bias.double(), 5, 1)
    assert scores.dtype == dtype
    assert torch.all((scores.double() - exact).abs() <= 1e-5 + rounding * exact.abs())
    weights = scores.softmax(-1)
    exact = natten2dav(weights.double(), value.double(), 5, 1)
    assert torch.all((natten2dav(weights, value, 5, 1).double() - exact).abs() <= 1e-5 + rounding * exact.abs())


@pytest.mark.parametrize(
    ("query", "key", "rpb", "kernel", "dilation", "problem"),
    [
        ((1, 2, 6, 8, 4), None, None, 4, 1, "kernel_size 4 is not odd and positive"),  # 0.17: odd sizes only
        ((1, 2, 6, 8, 4), None, None, -1, 1, "kernel_size -1 is not odd and positive"),
        ((1, 2, 6, 8, 4), None, None, 3, 0, "dilation 0 is not positive"),
        ((1, 2, 6, 8, 4), None, None, 7, 1, "kernel_size*dilation = 7 exceeds the map of 6x8"),
        ((1, 2, 9, 8, 4), None, None, 3, 3, "kernel_size*dilation = 9 exceeds the map of 9x8"),
        ((2, 6, 8, 4), None, None, 3, 1, "expected [B, heads, H, W, head_dim], found 4 axes"),
        ((1, 2, 6, 8, 4), (1, 2, 8, 6, 4), None, 3, 1, "key is [1, 2, 8, 6, 4], query is [1, 2, 6, 8, 4]"),
        ((1, 2, 6, 8, 4), None, (2, 5, 3), 3, 1, "rpb is [2, 5, 3] instead of [2, 5, 5]"),
    ],
)
def test_scores_of_wrong_arguments_are_refused(query, key, rpb, kernel, dilation, problem):
    with pytest.raises(NatdeployError) as caught:
        natten2dqkrpb(
            torch.zeros(query), torch.zeros(key or query), None if rpb is None else torch.zeros(rpb), kernel, dilation
        )
    assert problem in str(caught.value)


def test_weights_of_another_window_are_refused():
    with pytest.raises(NatdeployError, match=r"attn is \[1, 2, 6, 8, 25\] instead of \[1, 2, 6, 8, 9\]"):
        natten2dav(torch.zeros(1, 2, 6, 8, 25), torch.zeros(1, 2, 6, 8, 4), 3, 1)
    with pytest.raises(NatdeployError, match="kernel_size 2 is not odd"):
        natten2dav(torch.zeros(1, 2, 6, 8, 4), torch.zeros(1, 2, 6, 8, 4), 2, 1)
