"""Faults in the operator's ONNX forms: the function, the portable form, and the tiles that both share."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_FUNCTION = planted("function", "natdeploy/ops/onnx_function.py", (
    tests.FUNCTION,
    {
        "window-starts-later": ("op.Max(op.Sub(query, half), zero)", "op.Max(op.Sub(query, op.Sub(half, one)), zero)"),
        "window-starts-earlier": ("op.Max(op.Sub(query, half), zero)",
                                  "op.Max(op.Sub(query, op.Add(half, one)), zero)"),
        "border-unclamped": ("op.Max(op.Sub(query, half), zero)", "op.Sub(query, half)"),
        "window-too-wide": ("op.Less(pair_key,", "op.LessOrEqual(pair_key,"),
        "even-kernel-other-side": ("op.Div(kernel, op.constant(2))", "op.Div(op.Sub(kernel, one), op.constant(2))"),
        "group-too-short": ("op.Add(op.Div(op.Sub(op.Sub(extent, one), group), dilation), one)",
                            "op.Add(op.Div(extent, dilation), op.Mul(group, zero))"),
        "group-too-long": ("op.Div(op.Sub(op.Sub(extent, one), group), dilation)",
                           "op.Div(op.Sub(op.Sub(extent, one), op.Mul(group, zero)), dilation)"),
        "kernel-axes-swapped": ("op.Gather(kernel_size, op.constant(i))",
                                "op.Gather(kernel_size, op.constant(rank - 1 - i))"),
        "dilation-axes-swapped": ("op.Gather(dilation, op.constant(i))",
                                  "op.Gather(dilation, op.constant(rank - 1 - i))"),
        "extents-swapped": ("op.constant(1 + axis)", "op.constant(rank - axis)"),
        "halo-starts-later": ("op.Min(op.Sub(first, half),", "op.Min(op.Sub(first, op.Sub(half, one)),"),
        "halo-too-short": ("op.Min(op.Sub(op.Add(queries, kernel), one), longest)",
                           "op.Min(op.Sub(op.Add(queries, kernel), op.constant(2)), longest)"),
        "halo-unclamped": ("op.Min(op.Sub(first, half), op.Sub(length, keys))", "op.Sub(first, half)"),
        "last-tile-unclamped": ("op.Min(op.Add(first, op.Range(zero, queries, one)), last)",
                                "op.Add(first, op.Range(zero, queries, one))"),
        "last-halo-unclamped": ("op.Min(key, last)", "key"),
        "bias-flipped": ("op.Sub(pair_key, pair_query)", "op.Sub(pair_query, pair_key)"),
        "bias-off-by-one": ("op.Sub(pair_key, pair_query), op.Sub(kernel, one))",
                            "op.Sub(pair_key, pair_query), op.Sub(kernel, op.constant(2)))"),
        "scale-twice": ('op.Mul(query, op.attribute("scale", "float"))',
                        'op.Mul(op.Mul(query, op.attribute("scale", "float")), op.attribute("scale", "float"))'),
        "scale-missing": ('op.Mul(query, op.attribute("scale", "float"))', "query"),
        "query-and-key-swapped": ("for i in range(3))", "for i in (1, 0, 2))"),
        "key-and-value-swapped": ("for i in range(3))", "for i in (0, 2, 1))"),
        "heads-before-parts": (
            "tokens, three, heads, head_dim, axis=0))\n        parts = op.Transpose(parts, perm=[2, 0, 3, 1, 4])",
            "tokens, heads, three, head_dim, axis=0))\n        parts = op.Transpose(parts, perm=[3, 0, 2, 1, 4])",
        ),
    },
))  # fmt: skip

_PORTABLE = planted("portable", "natdeploy/ops/onnx_portable.py", (
    (tests.PORTABLE_FIXED,),
    {
        "window-starts-later": ("np.clip(inside - kernel // 2,", "np.clip(inside - kernel // 2 + 1,"),
        "window-starts-earlier": ("np.clip(inside - kernel // 2,", "np.clip(inside - kernel // 2 - 1,"),
        "border-unclamped": ("np.clip(inside - kernel // 2, 0, length - kernel)", "(inside - kernel // 2)"),
        "window-too-narrow": ("(seen < start + kernel)", "(seen < start + kernel - 1)"),
        "even-kernel-other-side": ("np.clip(inside - kernel // 2,", "np.clip(inside - (kernel - 1) // 2,"),
        "group-too-short": ("len(range(group, extent, dilation))", "extent // dilation"),
        "group-too-long": ("len(range(group, extent, dilation))", "longest"),
        "kernel-axes-swapped": ("extents, neighborhood.kernel_size,", "extents, neighborhood.kernel_size[::-1],"),
        "dilation-axes-swapped": ("neighborhood.dilation, strict", "neighborhood.dilation[::-1], strict"),
        "extents-swapped": ("_map_tables(tuple(extents),", "_map_tables(tuple(extents)[::-1],"),
        "halo-starts-later": ("min(first - kernel // 2,", "min(first - kernel // 2 + 1,"),
        "halo-too-short": ("min(queries + kernel - 1, longest)", "min(queries + kernel - 2, longest)"),
        "halo-unclamped": ("min(first - kernel // 2, length - keys)", "first - kernel // 2"),
        "last-tile-unclamped": ("inside = np.minimum(inside, length - 1)", "inside = inside + 0"),
        "last-halo-unclamped": ("np.minimum(seen, length - 1)", "seen"),
        "bias-transposed": ("_grid([axis.row for axis in axes], 3), spans)",
                            "_grid([axis.row for axis in axes], 3)[::-1], spans[::-1])"),
        "bias-flipped": ("seen - inside[:, None] + kernel - 1", "inside[:, None] - seen + kernel - 1"),
        "bias-off-by-one": ("seen - inside[:, None] + kernel - 1", "seen - inside[:, None] + kernel - 2"),
        "scale-twice": ("op.constant(neighborhood.scale,", "op.constant(neighborhood.scale**2,"),
        "scale-missing": ("op.constant(neighborhood.scale,", "op.constant(1.0,"),
        "query-and-key-swapped": ("for i in range(3))", "for i in (1, 0, 2))"),
        "key-and-value-swapped": ("for i in range(3))", "for i in (0, 2, 1))"),
        "heads-before-parts": (
            "tokens, 3, num_heads, head_dim]))\n        packed = op.Transpose(packed, perm=[2, 0, 3, 1, 4])",
            "tokens, num_heads, 3, head_dim]))\n        packed = op.Transpose(packed, perm=[3, 0, 2, 1, 4])",
        ),
    },
))  # fmt: skip

_TILES = planted("tiles", "natdeploy/ops/onnx_tiles.py", (
    tests.EVERY_FORM,
    {
        "softmax-over-queries": ("op.Softmax(scores, axis=-1)", "op.Softmax(scores, axis=-2)"),
        "bias-missing": ("op.Add(scores, scores_bias)", "op.Add(scores, op.constant(0, np.float32))"),
        "key-for-value": ("op.Gather(value, tables.key, axis=2)", "op.Gather(key, tables.key, axis=2)"),
    },
), (
    tests.FUNCTION,  # the portable form looks its biases up itself
    {
        "bias-transposed": ("op.Flatten(rpb, axis=1)", "op.Flatten(op.Transpose(rpb, perm=[0, 2, 1]), axis=1)"),
        "strangers-not-masked": ("minus_infinity = op.constant(-np.inf,", "minus_infinity = op.constant(0,"),
    },
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_FUNCTION, *_PORTABLE, *_TILES)
