"""NATTEN's own code agrees: its CPU path (Flex Attention) against the reference and the torch op, without a bias."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from ops.cases import CASES, Case

from natdeploy.ops import torch_op as torch_op  # registers torch.ops.natdeploy

natten = pytest.importorskip("natten", minversion="0.21", reason="NATTEN 0.21 is not installed (extra 'natten')")

SEEDS = range(40)
QUICK = 6  # the rest is slow: a call takes up to three seconds, most of them for NATTEN's block masks


def random_case(seed: int) -> Case:
    """Everything that the operator has but the bias; rank, causality and stride take turns, the rest is drawn."""
    rng = random.Random(seed)
    rank, causal, strided = 1 + seed % 3, seed // 3 % 2, seed // 2 % 2
    causal_axes = rng.sample(range(rank), rng.randint(1, rank)) if causal else []
    largest = {1: 9, 2: 6, 3: 4}[rank]
    kernel = [rng.randint(2, largest) for _ in range(rank)]
    dilation = [rng.choice([1, 1, 2, 3]) for _ in range(rank)]
    # One causal axis as long as its window is ordinary causal attention to NATTEN, and that it has for GPUs only.
    spare = 1 if rank == 1 and causal else 0
    extents = [k * d + rng.randint(spare, 4) for k, d in zip(kernel, dilation, strict=True)]
    return Case(
        tuple(extents),
        tuple(kernel),
        tuple(dilation),
        tuple(rng.randint(2, k) if strided else 1 for k in kernel),
        tuple(int(axis in causal_axes) for axis in range(rank)),
        batch=rng.choice([1, 2]),
        heads=rng.choice([1, 2, 3]),
        head_dim=rng.choice([8, 16, 32]),  # what NATTEN takes: multiples of 8
        seed=seed,
    )


SWEEP = [random_case(seed) for seed in SEEDS]
TABLE = [c for c in CASES if not c.has_rpb and c.batch and c.head_dim % 8 == 0 and min(c.kernel_size) > 1]


def quick_and_slow(cases: list[Case]) -> list:
    return [pytest.param(c, id=str(c), marks=[pytest.mark.slow] * (i >= QUICK)) for i, c in enumerate(cases)]


@pytest.mark.filterwarnings("ignore")  # of torch, about Flex Attention without compilation
@pytest.mark.parametrize("case", quick_and_slow(SWEEP) + quick_and_slow(TABLE))
def test_natten_agrees_with_the_reference_and_the_torch_op(case: Case):
    query, key, value = (torch.from_numpy(x) for x in case.tensors()[:3])
    neighborhood = case.neighborhood
    attend = {1: natten.na1d, 2: natten.na2d, 3: natten.na3d}[case.rank]
    by_natten = attend(
        query,
        key,
        value,
        kernel_size=neighborhood.kernel_size,
        stride=neighborhood.stride,
        dilation=neighborhood.dilation,
        is_causal=neighborhood.is_causal,
        scale=neighborhood.scale,
    )
    by_torch_op = torch.ops.natdeploy.neighborhood_attention(
        query,
        key,
        value,
        None,
        neighborhood.kernel_size,
        neighborhood.dilation,
        neighborhood.stride,
        [int(c) for c in neighborhood.is_causal],
        neighborhood.scale,
    )
    # Two float32 computations of numbers near one; the worst seen is 1.7e-6.
    np.testing.assert_allclose(case.expected(), by_natten.numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(by_torch_op.numpy(), by_natten.numpy(), atol=1e-5, rtol=0)


def test_the_sweep_covers_what_it_is_for():
    for rank in (1, 2, 3):
        cases = [case for case in SWEEP if case.rank == rank]
        assert len(cases) >= 12
        assert {(case.is_strided, case.causal) for case in cases} == set(itertools.product([False, True], repeat=2))
        axes = [pair for case in cases for pair in zip(case.kernel_size, case.is_causal, strict=True)]
        assert any(kernel % 2 == 0 and not causal for kernel, causal in axes)
        remainders = (
            math.prod(case.dilation) > 1 and any(e % d for e, d in zip(case.extents, case.dilation, strict=True))
            for case in cases
        )
        assert any(remainders)
