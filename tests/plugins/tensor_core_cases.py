"""Shapes that reach every corner of the tensor-core kernel: which tile, border, pipeline stage and group length.

The planted faults of test_planted_faults.py judge this list: a fault that no shape finds asks for another shape.
"""

from dataclasses import replace

from ops.cases import Case

TENSOR_CORE_CASES = (
    # One tile, smaller than 8x8; the map is the window.
    Case((3, 4), (3, 3), has_rpb=True, heads=1),
    Case((7, 9), (7, 7), has_rpb=True, heads=1),
    Case((5, 8), (5, 5), batch=2),
    Case((11, 12), (11, 11), batch=2, heads=1),
    Case((13, 14), (13, 13), has_rpb=True, heads=1),
    # Blocks that take several images: both pipeline stages, and each again.
    Case((13, 17), (7, 7), has_rpb=True, batch=5),
    Case((10, 9), (3, 3), has_rpb=True, batch=7),
    Case((17, 22), (13, 13), has_rpb=True, batch=3, heads=1),
    Case((10, 13), (9, 9), has_rpb=True, batch=4),
    # Tiles with no border of the map on either side.
    Case((27, 26), (3, 3), has_rpb=True, heads=1),
    Case((28, 20), (5, 5), has_rpb=True, heads=1),
    Case((30, 27), (7, 7), has_rpb=True, heads=1),
    Case((16, 24), (7, 7), batch=2, heads=1),
    # Dilation, groups of unequal length, dilation that differs between the axes.
    Case((15, 23), (7, 7), (2, 2), has_rpb=True),
    Case((23, 31), (7, 7), (3, 4), has_rpb=True, heads=1),
    Case((9, 14), (3, 3), (3, 2), has_rpb=True, heads=3),
    Case((11, 19), (5, 5), (2, 3), has_rpb=True),
    Case((19, 18), (9, 9), (2, 1), has_rpb=True, heads=1),
    Case((24, 25), (11, 11), (2, 2), has_rpb=True, heads=1),
    Case((27, 28), (13, 13), (2, 1), has_rpb=True, heads=1),
)

HEAD_DIM_32 = tuple(replace(case, head_dim=32) for case in TENSOR_CORE_CASES)
HEAD_DIM_64 = tuple(replace(case, head_dim=64) for case in TENSOR_CORE_CASES if case.kernel_size != (13, 13))
