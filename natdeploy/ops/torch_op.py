"""The operator as a ``torch.library`` op: opaque to ``torch.export``, differentiable, fast enough to run real models.

Scores, softmax and accumulation are float32 whatever the inputs are (float64 inputs stay float64, so a model in
double precision is its own reference). Importing this module registers ``torch.ops.natdeploy.*``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from natdeploy.ops.spec import DOMAIN, Neighborhood

if TYPE_CHECKING:
    from torch._library.custom_ops import CustomOpDef

# Neighbours are gathered for as many tokens at a time as keep the copies of key and value under this size:
# small enough for the cache of a desktop CPU to matter, large enough that the Python loop does not.
_CHUNK_ELEMENTS = 1 << 21


def _axis_windows(extent: int, kernel: int, dilation: int, stride: int, causal: bool) -> tuple[Tensor, Tensor]:
    """Neighbours of every token along one axis.

    Returns:
        ``index`` ``[extent, kernel]`` int64, the neighbours (anything in range where not valid), and ``valid``
        ``[extent, kernel]`` bool; only causal windows have neighbours that are not valid.
    """
    token = torch.arange(extent)
    group, i = token % dilation, token // dilation
    last = (extent - 1 - group) // dilation  # index of the last token of each dilation group
    offsets = torch.arange(kernel)
    if causal:
        leader = torch.minimum((i // stride) * stride + stride - 1, last)
        neighbor = (leader - kernel + 1)[:, None] + offsets
        valid = (neighbor >= 0) & (neighbor <= i[:, None])
    else:
        leader = torch.minimum((i // stride) * stride + stride // 2, last)
        start = torch.minimum((leader - kernel // 2).clamp(min=0), last - kernel + 1)
        neighbor = start[:, None] + offsets
        valid = torch.ones_like(neighbor, dtype=torch.bool)
    neighbor = torch.minimum(neighbor.clamp(min=0), last[:, None])
    return neighbor * dilation + group[:, None], valid


def _windows(extents: Sequence[int], neighborhood: Neighborhood) -> tuple[Tensor, Tensor, Tensor]:
    """Combine the axes: flat neighbour index, flat bias index and validity, each ``[tokens, prod(kernel_size)]``."""
    rank = len(extents)
    index = bias = torch.zeros((1,) * (2 * rank), dtype=torch.int64)
    valid = torch.ones((1,) * (2 * rank), dtype=torch.bool)
    for axis, extent in enumerate(extents):
        kernel, dilation = neighborhood.kernel_size[axis], neighborhood.dilation[axis]
        neighbor, inside = _axis_windows(
            extent, kernel, dilation, neighborhood.stride[axis], neighborhood.is_causal[axis]
        )
        relative = (neighbor - torch.arange(extent)[:, None]) // dilation + kernel - 1
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = extent, kernel
        index = index * extent + neighbor.view(shape)
        bias = bias * (2 * kernel - 1) + relative.view(shape)
        valid = valid & inside.view(shape)
    tokens = int(torch.Size(extents).numel())
    return index.reshape(tokens, -1), bias.reshape(tokens, -1), valid.reshape(tokens, -1)


def attention_from_windows(
    query: Tensor, key: Tensor, value: Tensor, rpb: Tensor | None, neighborhood: Neighborhood
) -> Tensor:
    """Gather each token's neighbours and attend to them; plain differentiable torch.

    Args:
        query: ``[B, *spatial, heads, head_dim]``; key and value alike.
        key: See query.
        value: See query.
        rpb: ``[heads, 2*k-1 per axis]`` or None.
        neighborhood: Window, dilation, stride, causality, scale.

    Returns:
        ``[B, *spatial, heads, head_dim]``, dtype of query.

    Raises:
        ValueError: If the parameters break the contract (``Neighborhood.problems``).
    """
    extents = query.shape[1:-2]
    problems = neighborhood.problems(extents, has_rpb=rpb is not None)
    if problems:
        raise ValueError("; ".join(problems))
    work = torch.float64 if query.dtype == torch.float64 else torch.float32
    q, k, v = (x.flatten(1, -3).to(work) for x in (query * 1, key, value))  # [B, tokens, heads, head_dim]
    q = q * neighborhood.scale
    index, bias_index, valid = (x.to(query.device) for x in _windows(extents, neighborhood))
    flat_rpb = None if rpb is None else rpb.to(work).flatten(1)
    outputs = []
    chunk = max(1, _CHUNK_ELEMENTS // max(1, index.shape[1] * k[:, 0].numel()))
    for rows in torch.arange(q.shape[1], device=query.device).split(chunk):
        neighbors = index[rows]
        scores = torch.einsum("bthd,btnhd->bthn", q[:, rows], k[:, neighbors])
        if flat_rpb is not None:
            scores = scores + flat_rpb[:, bias_index[rows]].transpose(0, 1)
        scores = scores.masked_fill(~valid[rows][:, None], -torch.inf)
        outputs.append(torch.einsum("bthn,btnhd->bthd", scores.softmax(-1), v[:, neighbors]))
    return torch.cat(outputs, dim=1).reshape(query.shape).to(query.dtype)


def _neighborhood(
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    stride: Sequence[int],
    is_causal: Sequence[int],
    scale: float,
) -> Neighborhood:
    return Neighborhood.of(kernel_size, scale, dilation, stride, is_causal)


@torch.library.custom_op(f"{DOMAIN}::neighborhood_attention", mutates_args=())
def neighborhood_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rpb: Tensor | None,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    stride: Sequence[int],
    is_causal: Sequence[int],
    scale: float,
) -> Tensor:
    """NATTEN's functional form: ``[B, *spatial, heads, head_dim]`` in and out (docs/design.md §3)."""
    neighborhood = _neighborhood(kernel_size, dilation, stride, is_causal, scale)
    return attention_from_windows(query, key, value, rpb, neighborhood)


@torch.library.custom_op(f"{DOMAIN}::packed_neighborhood_attention", mutates_args=())
def packed_neighborhood_attention(
    qkv: Tensor,
    rpb: Tensor | None,
    num_heads: int,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    stride: Sequence[int],
    is_causal: Sequence[int],
    scale: float,
) -> Tensor:
    """Packed form: ``[B, *spatial, 3*heads*head_dim]`` to ``[B, *spatial, heads*head_dim]`` (docs/design.md §3)."""
    query, key, value = split_packed(qkv, num_heads)
    neighborhood = _neighborhood(kernel_size, dilation, stride, is_causal, scale)
    return attention_from_windows(query, key, value, rpb, neighborhood).flatten(-2)


def split_packed(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """View ``[..., 3*heads*head_dim]`` as query, key and value, each ``[..., heads, head_dim]``."""
    query, key, value = qkv.unflatten(-1, (3, num_heads, -1)).unbind(-3)
    return query, key, value


# The shape rules do not compare sizes: a comparison of symbolic sizes would become a guard on the exported program.
@neighborhood_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, rpb: Tensor | None, *attributes: object) -> Tensor:
    return query.new_empty(query.shape)


@packed_neighborhood_attention.register_fake
def _(qkv: Tensor, rpb: Tensor | None, num_heads: int, *attributes: object) -> Tensor:
    return qkv.new_empty((*qkv.shape[:-1], qkv.shape[-1] // 3))


def _save_for_backward(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[object, ...], output: Tensor) -> None:
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.arguments = [None if isinstance(x, Tensor) else x for x in inputs]  # type: ignore[attr-defined]
    ctx.is_tensor = [isinstance(x, Tensor) for x in inputs]  # type: ignore[attr-defined]


def _recomputing_backward(op: CustomOpDef) -> None:
    """Give ``op`` a backward pass that runs the forward again under autograd: simple, and memory stays small."""

    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)  # type: ignore[attr-defined]
        arguments = [
            next(saved).detach().requires_grad_() if tensor else x
            for x, tensor in zip(ctx.arguments, ctx.is_tensor, strict=True)  # type: ignore[attr-defined]
        ]
        with torch.enable_grad():
            output = op._init_fn(*arguments)
        inputs = [x for x in arguments if isinstance(x, Tensor)]
        gradients = iter(torch.autograd.grad(output, inputs, gradient))
        return tuple(next(gradients) if isinstance(x, Tensor) else None for x in arguments)

    op.register_autograd(backward, setup_context=_save_for_backward)


_recomputing_backward(neighborhood_attention)
_recomputing_backward(packed_neighborhood_attention)
