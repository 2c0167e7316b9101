"""What PyTorch itself offers for the same layer, bias included: dense attention with a mask, and flex attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from kernel_model.workloads import Workload
from torch import Tensor

from natdeploy.ops.spec import Neighborhood
from natdeploy.ops.torch_op import _windows

Call = Callable[[Tensor], Tensor]  # qkv [B, H, W, 3*heads*head_dim] to [B, heads, H*W, head_dim]


def _split(qkv: Tensor, w: Workload) -> tuple[Tensor, Tensor, Tensor]:
    """Views ``[B, heads, H*W, head_dim]`` of a packed map; nothing is copied."""
    heads = qkv.view(w.batch, w.height * w.width, 3, w.heads, w.head_dim).permute(2, 0, 3, 1, 4)
    return heads[0], heads[1], heads[2]


def neighborhood_of(w: Workload) -> Neighborhood:
    """Give the operator's attributes."""
    return Neighborhood.of((w.kernel_size,) * 2, w.head_dim**-0.5, (w.dilation,) * 2)


def dense_attention(w: Workload, rpb: Tensor) -> Call:
    """``scaled_dot_product_attention`` with the bias as a dense mask, minus infinity outside of the windows.

    Args:
        w: The layer.
        rpb: ``[heads, 2*k-1, 2*k-1]`` float32, on the device to run on.
    """
    index, bias_index, _ = (x.to(rpb.device) for x in _windows((w.height, w.width), neighborhood_of(w)))
    tokens = w.height * w.width
    mask = torch.full((w.heads, tokens, tokens), -torch.inf, dtype=getattr(torch, w.dtype), device=rpb.device)
    mask.scatter_(2, index.expand(w.heads, -1, -1), rpb.flatten(1)[:, bias_index].to(mask.dtype))

    def call(qkv: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(*_split(qkv, w), attn_mask=mask)

    return call


def flex_attention(w: Workload, rpb: Tensor, compile_it: bool = True) -> Call:
    """Flex attention with a block mask of the windows and the bias added to the scores.

    Args:
        w: The layer.
        rpb: As for dense_attention.
        compile_it: By torch.compile, as users do; without, it is slow and right.
    """
    from torch.nn.attention import flex_attention as flex

    kernel, dilation, width = w.kernel_size, w.dilation, w.width
    starts = [_window_starts(extent, w, rpb.device) for extent in (w.height, w.width)]

    def along_axis(query: Tensor, key: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        first = start[query]
        inside = (key % dilation == query % dilation) & (key // dilation >= first) & (key // dilation < first + kernel)
        return inside, (key // dilation - query // dilation + kernel - 1).clamp(0, 2 * kernel - 2)

    def both_axes(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        in_rows, row = along_axis(query // width, key // width, starts[0])
        in_columns, column = along_axis(query % width, key % width, starts[1])
        return in_rows & in_columns, row, column

    def mask_mod(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return both_axes(query, key)[0]

    def score_mod(score: Tensor, _batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        _, row, column = both_axes(query, key)
        return score + rpb[head, row, column].to(score.dtype)

    tokens = w.height * w.width
    mask = flex.create_block_mask(mask_mod, None, None, tokens, tokens, device=str(rpb.device))
    function: Callable[..., Tensor] = flex.flex_attention
    if compile_it:
        torch._dynamo.reset()  # it compiles one function for 8 sets of shapes, then runs it without compiling
        function = torch.compile(flex.flex_attention, dynamic=False)

    def call(qkv: Tensor) -> Tensor:
        return function(*_split(qkv, w), score_mod=score_mod, block_mask=mask)

    return call


def _window_starts(extent: int, w: Workload, device: torch.device) -> Tensor:
    """First place of each token's window inside its dilation group."""
    index, _, _ = _windows((extent,), Neighborhood.of((w.kernel_size,), 1.0, (w.dilation,)))
    return (index[:, 0] // w.dilation).to(device)
