"""The table of cases itself: tables rot quietly."""

import numpy as np
import torch
from ops.cases import CASES, Case, rounded, select


def test_ids_print_the_variables_and_are_unique():
    case = Case((15, 22), (7, 5), (2, 1), has_rpb=True, heads=3)
    assert str(case) == "b1-h15-w22-win7x5-dil2x1-heads3-dim16-rpb"
    assert len({str(case) for case in CASES}) == len(CASES)


def test_every_case_can_fail():
    for case in CASES:
        assert not case.neighborhood.problems(case.extents, case.has_rpb), str(case)
        assert len(set(case.extents)) == case.rank, f"{case}: extents must differ"


def test_the_table_covers_what_goes_wrong():
    def some(condition) -> bool:
        return any(condition(case) for case in CASES)

    assert {case.rank for case in CASES} == {1, 2, 3}
    assert {0, 1, 3} <= {case.batch for case in CASES}
    assert {1, 5, 24, 32, 64} <= {case.head_dim for case in CASES}
    assert 1 in {case.heads for case in CASES}
    assert some(lambda c: c.heads_first)
    assert some(lambda c: c.neighborhood.window_extents == c.extents)
    assert some(lambda c: any(k % 2 == 0 for k in c.kernel_size) and c.has_rpb)
    assert some(lambda c: len(set(c.kernel_size)) == 2 and len(set(c.dilation)) == 2)
    assert some(lambda c: any(e % d for e, d in zip(c.extents, c.dilation, strict=False)))
    for rank in (1, 2, 3):
        assert select(rank=rank, strided=True) and select(rank=rank, causal=True) and select(rank=rank, has_rpb=True)
        assert select(rank=rank, strided=True, causal=True)
    assert all(case.rank == 2 and case.has_rpb for case in select(rank=2, has_rpb=True))


def test_rounding_is_that_of_torch():
    x = np.random.default_rng(0).standard_normal(10_000).astype(np.float32) * 100
    for dtype in ("float16", "bfloat16"):
        expected = torch.from_numpy(x).to(getattr(torch, dtype)).float().numpy()
        np.testing.assert_array_equal(rounded(x, dtype), expected)


def test_heads_first_changes_the_layout_only():
    plain, moved = (Case((4, 5), (3, 3), heads=3, heads_first=flag).tensors() for flag in (False, True))
    np.testing.assert_array_equal(plain.query, moved.query)
    assert plain.query.flags.c_contiguous and not moved.query.flags.c_contiguous
