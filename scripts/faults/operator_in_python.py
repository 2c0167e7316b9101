"""Faults in the operator's two Python implementations, and in the functions that stand in for NATTEN's."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_REFERENCE = planted("reference", "natdeploy/ops/reference.py", (
    (tests.REFERENCE,),
    {
        "window-starts-later": ("max(leader, left)", "max(leader + 1, left)"),
        "window-starts-earlier": ("max(leader, left)", "max(leader - 1, left)"),
        "border-unclamped": ("max(leader, left)", "leader"),
        "even-kernel-other-side": ("left = kernel // 2", "left = (kernel - 1) // 2"),
        "group-too-short": ("len(range(group, extent, dilation))", "extent // dilation"),
        "group-too-long": ("len(range(group, extent, dilation))", "-(-extent // dilation)"),
        "kernel-axes-swapped": ("extents,\n                neighborhood.kernel_size,",
                                "extents,\n                neighborhood.kernel_size[::-1],"),
        "stride-leader": ("+ stride // 2", "+ (stride - 1) // 2"),
        "causal-sees-the-future": ("leader - kernel + 1, i + 1)", "leader - kernel + 1, leader + 1)"),
        "bias-transposed": ("(slice(None), *index)", "(slice(None), *index[::-1])"),
        "bias-flipped": ("(n - t) // d", "(t - n) // d"),
        "bias-off-by-one": ("step + k - 1", "step + k - 2"),
        "scale-twice": ("* neighborhood.scale *", "* neighborhood.scale**2 *"),
        "scale-missing": ("q[here] * neighborhood.scale *", "q[here] *"),
        "query-and-key-swapped": ("q, k, v = np.moveaxis", "k, q, v = np.moveaxis"),
        "key-and-value-swapped": ("q, k, v = np.moveaxis", "q, v, k = np.moveaxis"),
        "heads-before-parts": ("3, num_heads, channels // (3 * num_heads)), -3, 0)",
                               "num_heads, 3, channels // (3 * num_heads)), -2, 0)"),
        "softmax-over-heads": ("shifted.sum(axis=0)", "shifted.sum(axis=-1, keepdims=True)"),
    },
))  # fmt: skip

_TORCH = planted("torch-op", "natdeploy/ops/torch_op.py", (
    (tests.TORCH_OP,),
    {
        "window-starts-later": ("(leader - kernel // 2)", "(leader - kernel // 2 + 1)"),
        "window-starts-earlier": ("(leader - kernel // 2)", "(leader - kernel // 2 - 1)"),
        "border-unclamped-before": ("(leader - kernel // 2).clamp(min=0)", "(leader - kernel // 2)"),
        "border-unclamped-after": ("last - kernel + 1)", "last)"),
        "even-kernel-other-side": ("(leader - kernel // 2)", "(leader - (kernel - 1) // 2)"),
        "group-too-short": ("(extent - 1 - group) // dilation", "extent // dilation - 1 + 0 * group"),
        "group-too-long": ("(extent - 1 - group) // dilation", "(extent - 1) // dilation + 0 * group"),
        "kernel-axes-swapped": ("neighborhood.kernel_size[axis]", "neighborhood.kernel_size[rank - 1 - axis]"),
        "dilation-axes-swapped": ("neighborhood.dilation[axis]", "neighborhood.dilation[rank - 1 - axis]"),
        "extents-swapped": ("index = index * extent +", "index = index * extents[rank - 1 - axis] +"),
        "stride-leader": ("stride + stride // 2", "stride + (stride - 1) // 2"),
        "causal-sees-the-future": ("neighbor <= i[:, None]", "neighbor <= leader[:, None]"),
        "bias-transposed": ("rpb.to(work).flatten(1)", "rpb.to(work).transpose(1, -1).flatten(1)"),
        "bias-flipped": ("rpb.to(work).flatten(1)", "rpb.to(work).flatten(1).flip(1)"),
        "bias-off-by-one": ("// dilation + kernel - 1", "// dilation + kernel - 2"),
        "scale-twice": ("q = q * neighborhood.scale", "q = q * neighborhood.scale**2"),
        "scale-missing": ("q = q * neighborhood.scale", "q = q * 1"),
        "softmax-over-heads": ("scores.softmax(-1)", "scores.softmax(-2)"),
        "half-precision-scores": ("torch.float64 if query.dtype == torch.float64 else torch.float32", "query.dtype"),
    },
), (
    (tests.TORCH_OP_PACKED,),
    {
        "query-and-key-swapped": ("query, key, value = qkv.unflatten", "key, query, value = qkv.unflatten"),
        "key-and-value-swapped": ("query, key, value = qkv.unflatten", "query, value, key = qkv.unflatten"),
        "heads-before-parts": ("(3, num_heads, -1)).unbind(-3)", "(num_heads, 3, -1)).unbind(-2)"),
    },
))  # fmt: skip

_COMPAT = planted("compat", "natdeploy/compat/natten_functions.py", (
    (tests.COMPAT,),
    {
        "window-starts-later": ("(position - kernel_size // 2)", "(position - kernel_size // 2 + 1)"),
        "window-starts-earlier": ("(position - kernel_size // 2)", "(position - kernel_size // 2 - 1)"),
        "border-unclamped": (".clamp(min=0), group_length - kernel_size)", ", group_length - kernel_size)"),
        "group-too-short": ("(extent - group + dilation - 1) // dilation", "extent // dilation + 0 * group"),
        "group-too-long": ("(extent - group + dilation - 1) // dilation", "-(-extent // dilation) + 0 * group"),
        "axes-swapped": ("width = query.shape[2:4]", "width = query.shape[2:4][::-1]"),
        "weights-transposed": ("weights[..., i, :]", "weights[..., :, i]"),
        "bias-transposed": ("rpb.to(score.dtype)[", "rpb.to(score.dtype).transpose(1, 2)["),
        "bias-flipped": ("neighbor_position - position[:, None]", "position[:, None] - neighbor_position"),
        "bias-off-by-one": ("column_steps + kernel_size - 1", "column_steps + kernel_size - 2"),
    },
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_REFERENCE, *_TORCH, *_COMPAT)
