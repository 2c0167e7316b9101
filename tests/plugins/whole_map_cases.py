"""Shapes that reach every corner of the whole-map kernel: which plan, tile, step of keys, pipeline stage and group.

The planted faults of test_planted_faults.py judge this list: a fault that no shape finds asks for another shape.
"""

from dataclasses import replace

from ops.cases import CASES, Case

# Most tokens of a dilation group with head_dim 32 that fit the shared memory of every GPU.
MOST_TOKENS = 448

WHOLE_MAP_CASES = (
    # Up to 64 tokens, biases kept: one tile or four, the last one full or not, both pipeline stages and each again.
    Case((3, 4), (3, 3), has_rpb=True, heads=1),
    Case((2, 1), (1, 1), heads=3),
    Case((7, 8), (7, 7), has_rpb=True, batch=5),
    Case((8, 7), (7, 7), has_rpb=True, batch=3),
    Case((4, 16), (3, 6), has_rpb=True, batch=2),
    Case((8, 5), (8, 2), batch=4),
    # Dilation groups of that size, of unequal length.
    Case((31, 28), (7, 7), (4, 4), has_rpb=True, heads=1, batch=2),
    Case((15, 14), (7, 7), (2, 2), has_rpb=True, heads=3),
    Case((9, 14), (3, 3), (3, 2), has_rpb=True, batch=2),
    # Up to 208 tokens and 128 keys of a tile, masks kept.
    Case((14, 13), (7, 7), has_rpb=True, batch=3),
    Case((13, 15), (5, 4), has_rpb=True, heads=1, batch=2),
    Case((5, 17), (3, 7), has_rpb=True, batch=2),
    Case((25, 23), (7, 5), (2, 2), has_rpb=True, heads=1),
    # Nothing kept: more keys, more tiles than warps, one stage, windows that the tensor-core kernel has not.
    Case((12, 14), (11, 13), has_rpb=True, heads=1),
    Case((20, 21), (5, 7), has_rpb=True, heads=1, batch=3),
    Case((15, 16), (8, 3), has_rpb=True, heads=1, batch=2),
    Case((31, 29), (7, 7), (2, 2), has_rpb=True, heads=1),
    Case((1, 40), (1, 9), has_rpb=True, batch=2),
    Case((40, 3), (15, 3), has_rpb=True, batch=2),
)


def tokens_of_longest_group(case: Case) -> int:
    """Tokens of the longest dilation group."""
    rows, columns = (-(-e // d) for e, d in zip(case.extents, case.neighborhood.dilation, strict=True))
    return rows * columns


MAP_CASES_32 = tuple(replace(case, head_dim=32) for case in WHOLE_MAP_CASES)
MAP_CASES_64 = tuple(
    replace(case, head_dim=64) for case in WHOLE_MAP_CASES if tokens_of_longest_group(case) < MOST_TOKENS // 2
)
SHARED_CASES_32 = tuple(
    replace(case, head_dim=32)
    for case in CASES
    if case.rank == 2
    and case.batch > 0
    and not case.is_strided
    and not case.causal
    and tokens_of_longest_group(case) <= MOST_TOKENS
)
