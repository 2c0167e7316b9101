"""``natten2dqkrpb`` and ``natten2dav`` as NATTEN 0.17 had them, in plain torch: any device, any torch, differentiable.

Their indexing is their own. Through them, Hugging Face's code is a reference for our models, and two sides that
share a window rule would share its faults.
"""

from __future__ import annotations

import torch
from torch import Tensor

from natdeploy.errors import NatdeployError


def natten2dqkrpb(query: Tensor, key: Tensor, rpb: Tensor | None, kernel_size: int, dilation: int) -> Tensor:
    """Score every token against its neighbours.

    Args:
        query: ``[B, heads, H, W, head_dim]``, already scaled.
        key: As query.
        rpb: Relative positional bias ``[heads, 2*kernel_size-1, 2*kernel_size-1]``, or None.
        kernel_size: Odd extent of the window, the same for both axes.
        dilation: Gap between neighbours, the same for both axes.

    Returns:
        ``[B, heads, H, W, kernel_size**2]``, dtype of query (half types are computed in float32); neighbours in row
        order, as in the window.

    Raises:
        NatdeployError: If the shapes do not fit, or the window is even or does not fit the map.
    """
    problems = _window_problems(query, kernel_size, dilation)
    if key.shape != query.shape:
        problems.append(f"key is {list(key.shape)}, query is {list(query.shape)}")
    bias_shape = [query.shape[1] if query.ndim == 5 else "heads", 2 * kernel_size - 1, 2 * kernel_size - 1]
    if rpb is not None and list(rpb.shape) != bias_shape:
        problems.append(f"rpb is {list(rpb.shape)} instead of {bias_shape}")
    _refuse("natten2dqkrpb", problems)

    height, width = query.shape[2:4]
    rows, row_steps = _neighbors(height, kernel_size, dilation, query.device)
    columns, column_steps = _neighbors(width, kernel_size, dilation, query.device)
    wide_query, wide_key = _widened(query), _widened(key)
    scores = []
    for i in range(kernel_size):  # one row of the window at a time: k copies of the map in memory, not k*k
        keys = wide_key[:, :, rows[:, i]][:, :, :, columns]  # [B, heads, H, W, k, head_dim]
        score = torch.einsum("bhyxd,bhyxnd->bhyxn", wide_query, keys)
        if rpb is not None:
            bias = rpb.to(score.dtype)[:, row_steps[:, i] + kernel_size - 1]  # [heads, H, 2k-1]
            score = score + bias[:, :, column_steps + kernel_size - 1]
        scores.append(score)
    return torch.cat(scores, dim=-1).to(query.dtype)


def natten2dav(attn: Tensor, value: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """Sum the values of every token's neighbours by weight.

    Args:
        attn: ``[B, heads, H, W, kernel_size**2]``, the weights, in the order of :func:`natten2dqkrpb`.
        value: ``[B, heads, H, W, head_dim]``.
        kernel_size: Odd extent of the window, the same for both axes.
        dilation: Gap between neighbours, the same for both axes.

    Returns:
        ``[B, heads, H, W, head_dim]``, dtype of value.

    Raises:
        NatdeployError: If the shapes do not fit, or the window is even or does not fit the map.
    """
    problems = _window_problems(value, kernel_size, dilation)
    if list(attn.shape) != [*value.shape[:-1], kernel_size**2]:
        problems.append(f"attn is {list(attn.shape)} instead of {[*value.shape[:-1], kernel_size**2]}")
    _refuse("natten2dav", problems)

    height, width = value.shape[2:4]
    rows, _ = _neighbors(height, kernel_size, dilation, value.device)
    columns, _ = _neighbors(width, kernel_size, dilation, value.device)
    weights, wide_value = _widened(attn).unflatten(-1, (kernel_size, kernel_size)), _widened(value)
    output = torch.zeros_like(wide_value)
    for i in range(kernel_size):
        values = wide_value[:, :, rows[:, i]][:, :, :, columns]  # [B, heads, H, W, k, head_dim]
        output = output + torch.einsum("bhyxn,bhyxnd->bhyxd", weights[..., i, :], values)
    return output.to(value.dtype)


def _neighbors(extent: int, kernel_size: int, dilation: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Neighbours of every token of one axis, and how many dilated steps each is away: both ``[extent, k]`` int64."""
    token = torch.arange(extent, device=device)
    group, position = token % dilation, token // dilation
    group_length = (extent - group + dilation - 1) // dilation
    first = torch.minimum((position - kernel_size // 2).clamp(min=0), group_length - kernel_size)
    neighbor_position = first[:, None] + torch.arange(kernel_size, device=device)
    return group[:, None] + dilation * neighbor_position, neighbor_position - position[:, None]


def _widened(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _window_problems(x: Tensor, kernel_size: int, dilation: int) -> list[str]:
    """Say why NATTEN 0.17 would not have taken this window (it did not take kernel_size 1 either; here it is fine)."""
    found = []
    if x.ndim != 5:
        found.append(f"expected [B, heads, H, W, head_dim], found {x.ndim} axes")
    if kernel_size < 1 or kernel_size % 2 == 0:
        found.append(f"kernel_size {kernel_size} is not odd and positive")
    if dilation < 1:
        found.append(f"dilation {dilation} is not positive")
    if x.ndim == 5 and kernel_size * dilation > min(x.shape[2:4]):
        height, width = x.shape[2:4]
        found.append(f"kernel_size*dilation = {kernel_size * dilation} exceeds the map of {height}x{width}")
    return found


def _refuse(function: str, problems: list[str]) -> None:
    if problems:
        raise NatdeployError(f"{function} cannot take these arguments", got="; ".join(problems))
