"""Neighborhood attention, slow and obvious: a loop over tokens, in float64. All else is measured by it.

It shares no indexing with the fast implementations, on purpose. Check it against docs/design.md §3 in five minutes.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from natdeploy.ops.spec import Neighborhood

Array = npt.NDArray[np.float64]
Index = Any  # tuple of a slice and integers


def neighbors_along_axis(
    token: int, extent: int, *, kernel: int, dilation: int = 1, stride: int = 1, causal: bool = False
) -> list[int]:
    """List the tokens that ``token`` attends to along one axis of ``extent`` tokens, in order.

    Follows NATTEN: a token sees only its dilation group (equal index modulo ``dilation``); at the border the window
    shifts instead of shrinking; a causal window does shrink; with a stride, groups of tokens share one leader.
    """
    group = token % dilation
    length = len(range(group, extent, dilation))  # tokens in this dilation group
    i = token // dilation
    if causal:
        leader = min((i // stride) * stride + stride - 1, length - 1)
        inside = [j for j in range(leader - kernel + 1, i + 1) if j >= 0]
    else:
        left = kernel // 2
        right = kernel - 1 - left
        leader = min((i // stride) * stride + stride // 2, length - 1)
        centre = min(max(leader, left), length - 1 - right)
        inside = list(range(centre - left, centre + right + 1))
    return [group + j * dilation for j in inside]


def neighborhood_attention(
    query: npt.NDArray[np.generic],
    key: npt.NDArray[np.generic],
    value: npt.NDArray[np.generic],
    rpb: npt.NDArray[np.generic] | None,
    neighborhood: Neighborhood,
) -> Array:
    """Attend from each token to its neighborhood.

    Args:
        query: ``[B, *spatial, heads, head_dim]``, any float dtype; spatial rank 1 to 3.
        key: As query.
        value: As query.
        rpb: Relative positional bias ``[heads, 2*k-1 per axis]``, or None.
        neighborhood: Window, dilation, stride, causality and scale.

    Returns:
        ``[B, *spatial, heads, head_dim]`` in float64.

    Raises:
        ValueError: If the parameters break the contract (``Neighborhood.problems``).
    """
    extents = query.shape[1:-2]
    problems = neighborhood.problems(extents, has_rpb=rpb is not None)
    if problems:
        raise ValueError("; ".join(problems))
    q, k, v = (np.asarray(x).astype(np.float64) for x in (query, key, value))
    output = np.zeros_like(q)
    for token in itertools.product(*(range(extent) for extent in extents)):
        per_axis = [
            neighbors_along_axis(t, extent, kernel=kernel, dilation=dilation, stride=stride, causal=causal)
            for t, extent, kernel, dilation, stride, causal in zip(
                token,
                extents,
                neighborhood.kernel_size,
                neighborhood.dilation,
                neighborhood.stride,
                neighborhood.is_causal,
                strict=True,
            )
        ]
        here: Index = (slice(None), *token)
        scores, values = [], []
        for neighbor in itertools.product(*per_axis):
            there: Index = (slice(None), *neighbor)
            score = (q[here] * neighborhood.scale * k[there]).sum(-1)  # [B, heads]
            scores.append(score if rpb is None else score + _bias(rpb, token, neighbor, neighborhood))
            values.append(v[there])
        weights = _softmax(np.stack(scores))[..., None]  # [neighbours, B, heads, 1]
        output[here] = (weights * np.stack(values)).sum(0)
    return output


def packed_neighborhood_attention(
    qkv: npt.NDArray[np.generic],
    rpb: npt.NDArray[np.generic] | None,
    num_heads: int,
    neighborhood: Neighborhood,
) -> Array:
    """Attend within a packed map ``[B, *spatial, 3*heads*head_dim]``; gives ``[B, *spatial, heads*head_dim]``."""
    *outer, channels = qkv.shape
    q, k, v = np.moveaxis(qkv.reshape(*outer, 3, num_heads, channels // (3 * num_heads)), -3, 0)
    return neighborhood_attention(q, k, v, rpb, neighborhood).reshape(*outer, channels // 3)


def _bias(
    rpb: npt.NDArray[np.generic],
    token: tuple[int, ...],
    neighbor: tuple[int, ...],
    neighborhood: Neighborhood,
) -> Array:
    """Bias of one (token, neighbour) pair for all heads: rpb[head, (neighbour - token) + k - 1 per axis]."""
    steps = ((n - t) // d for n, t, d in zip(neighbor, token, neighborhood.dilation, strict=True))
    index = tuple(step + k - 1 for step, k in zip(steps, neighborhood.kernel_size, strict=True))
    row: Index = (slice(None), *index)
    return np.asarray(rpb[row], np.float64)


def _softmax(scores: Array) -> Array:
    """Softmax over the first axis."""
    shifted = np.exp(scores - scores.max(axis=0))
    return np.asarray(shifted / shifted.sum(axis=0))
