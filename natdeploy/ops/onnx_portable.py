"""The op in standard ONNX for a map of fixed size: index tables as constants, and nothing gathered without need."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from natdeploy.ops.onnx_nodes import NodeBuilder
from natdeploy.ops.onnx_tiles import TILE, WHOLE, TileTables, attention_over_tiles
from natdeploy.ops.spec import PACKED, Neighborhood

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _AxisTables:
    """One axis of a map.

    Args:
        query: ``[tiles, queries]`` token of each query.
        key: ``[tiles, keys]`` token of each key.
        row: ``[tiles, queries, keys]`` rpb row of each pair, -1 where not a neighbour.
        tile_of: ``[extent]`` tile of each token.
        place_of: ``[extent]`` place of each token in its tile.
    """

    query: IntArray
    key: IntArray
    row: IntArray
    tile_of: IntArray
    place_of: IntArray


def _axis_tables(extent: int, kernel: int, dilation: int) -> _AxisTables:
    """Cut each dilation group into tiles; groups whose last tile is not full repeat their last query."""
    longest = math.ceil(extent / dilation)
    per_group = 1 if longest <= WHOLE else math.ceil(longest / TILE)
    queries = math.ceil(longest / per_group)
    keys = min(queries + kernel - 1, longest)
    query: list[IntArray] = []
    key: list[IntArray] = []
    row: list[IntArray] = []
    tile_of, place_of = np.zeros(extent, np.int64), np.zeros(extent, np.int64)
    for group in range(dilation):
        length = len(range(group, extent, dilation))
        for first in range(0, per_group * queries, queries):
            inside = np.arange(first, first + queries)
            real = inside[inside < length]
            tile_of[real * dilation + group], place_of[real * dilation + group] = len(query), real - first
            inside = np.minimum(inside, length - 1)
            seen = max(0, min(first - kernel // 2, length - keys)) + np.arange(keys)
            start = np.clip(inside - kernel // 2, 0, length - kernel)[:, None]
            is_neighbor = (start <= seen) & (seen < start + kernel)
            query.append(inside * dilation + group)
            key.append(np.minimum(seen, length - 1) * dilation + group)
            row.append(np.where(is_neighbor, seen - inside[:, None] + kernel - 1, -1))
    return _AxisTables(np.stack(query), np.stack(key), np.stack(row), tile_of, place_of)


@dataclass(frozen=True)
class _MapTables:
    """All axes together, flat.

    Args:
        query: ``[tiles, queries]`` token of each query.
        key: ``[tiles, keys]`` token of each key.
        bias: ``[tiles, queries, keys]`` index into the flattened rpb, its length where not a neighbour.
        where: ``[tokens]`` position of each token among ``tiles * queries``.
    """

    query: IntArray
    key: IntArray
    bias: npt.NDArray[np.int32]
    where: IntArray


@functools.lru_cache(maxsize=64)
def _map_tables(extents: tuple[int, ...], neighborhood: Neighborhood) -> _MapTables:
    """Combine the axes over their product grid."""
    axes = [
        _axis_tables(extent, kernel, dilation)
        for extent, kernel, dilation in zip(extents, neighborhood.kernel_size, neighborhood.dilation, strict=True)
    ]
    spans, count = neighborhood.rpb_shape, math.prod(neighborhood.rpb_shape)
    outside = functools.reduce(np.logical_or, [x < 0 for x in _grid([axis.row for axis in axes], 3)])
    bias = np.where(outside, count, _flat_index(_grid([axis.row for axis in axes], 3), spans))
    queries = [axis.query.shape[1] for axis in axes]
    where = _flat_index(
        [
            _flat_index(_grid([axis.tile_of for axis in axes], 1), [len(axis.query) for axis in axes]),
            _flat_index(_grid([axis.place_of for axis in axes], 1), queries),
        ],
        [0, math.prod(queries)],
    )
    sizes = [math.prod(axis.row.shape[i] for axis in axes) for i in range(3)]
    return _MapTables(
        query=_flat_index(_grid([axis.query for axis in axes], 2), extents).reshape(sizes[0], sizes[1]),
        key=_flat_index(_grid([axis.key for axis in axes], 2), extents).reshape(sizes[0], sizes[2]),
        bias=bias.reshape(sizes).astype(np.int32),
        where=where.reshape(-1),
    )


def _grid(tables: Sequence[IntArray], dims: int) -> list[IntArray]:
    """Spread each axis' table over the product grid: dimension ``d`` of axis ``i`` goes to ``d * rank + i``."""
    rank = len(tables)
    return [
        table.reshape([table.shape[j // rank] if j % rank == i else 1 for j in range(dims * rank)])
        for i, table in enumerate(tables)
    ]


def _flat_index(digits: Sequence[IntArray], radices: Sequence[int]) -> IntArray:
    """Mixed-radix number of the digits; the first radix does not count."""
    total = digits[0]
    for digit, radix in zip(digits[1:], radices[1:], strict=True):
        total = total * radix + digit
    return total


def portable_attention(
    op: NodeBuilder,
    op_type: str,
    inputs: Sequence[ir.Value],
    num_heads: int,
    head_dim: int,
    extents: tuple[int, ...],
    neighborhood: Neighborhood,
    dtype: ir.DataType,
) -> ir.Value:
    """Write the op for a map of fixed ``extents``; the batch stays free.

    Args:
        op: Takes the nodes and constants.
        op_type: One of the two forms of spec.py.
        inputs: Of the node: data tensors, then rpb where there is one.
        num_heads: Heads.
        head_dim: Channels of a head.
        extents: Spatial size of the map.
        neighborhood: Window; no stride, not causal.
        dtype: Of the data tensors; arithmetic is float32.

    Returns:
        The output, in the shape and dtype of the contract.
    """
    data = inputs[:1] if op_type == PACKED else inputs[:3]
    rpb = inputs[len(data)] if len(inputs) > len(data) else None
    tables = _map_tables(tuple(extents), neighborhood)
    floats = [x if dtype == ir.DataType.FLOAT else op.Cast(x, to=ir.DataType.FLOAT) for x in data]
    tokens = math.prod(extents)
    same = tables.query.shape == tables.key.shape and bool((tables.query == tables.key).all())
    whole = len(tables.query) == 1 and same and bool((tables.query[0] == np.arange(tokens)).all())
    if op_type == PACKED:
        packed = op.Reshape(floats[0], op.constant([0, tokens, 3, num_heads, head_dim]))
        packed = op.Transpose(packed, perm=[2, 0, 3, 1, 4])  # [3, B, heads, tokens, head_dim]
        if same and not whole:  # queries and keys are permuted alike: gather all three at once
            packed = op.Gather(packed, op.constant(tables.query), axis=3)
        query, key, value = (op.Gather(packed, op.constant(i), axis=0) for i in range(3))
    else:
        flat = op.constant([0, tokens, num_heads, head_dim])
        query, key, value = (op.Transpose(op.Reshape(x, flat), perm=[0, 2, 1, 3]) for x in floats)
    gathered = op_type == PACKED and same
    values = TileTables(
        query=None if whole else op.constant(tables.query),
        key=None if whole else op.constant(tables.key),
        where=None if whole else op.constant(tables.where),
        places=None if whole else op.constant([0, 0, tables.query.size, head_dim]),
    )
    scaled = op.Mul(query, op.constant(neighborhood.scale, np.float32))
    bias = _scores_bias(op, rpb, tables, neighborhood, whole)
    attended = attention_over_tiles(op, scaled, key, value, bias, values, gathered=gathered)
    attended = op.Transpose(attended, perm=[0, 2, 1, 3])
    channels = [num_heads * head_dim] if op_type == PACKED else [num_heads, head_dim]
    output: ir.Value = op.Reshape(attended, op.constant([0, *extents, *channels]))
    return output if dtype == ir.DataType.FLOAT else op.Cast(output, to=dtype)


def _scores_bias(
    op: NodeBuilder, rpb: ir.Value | None, tables: _MapTables, neighborhood: Neighborhood, whole: bool
) -> ir.Value | None:
    """Give the bias of every pair, ``[heads or 1, (tiles,) queries, keys]``; None where it would be all zeros."""
    index: npt.NDArray[Any] = tables.bias[0] if whole else tables.bias
    count = math.prod(neighborhood.rpb_shape)
    if rpb is None:
        if not (index == count).any():
            return None
        mask = np.where(index == count, -np.inf, 0.0)[None]
        return op.constant(mask, np.float32)
    # Constant inputs: runtimes fold these nodes when they load the file, and the file stays small.
    flat = op.Reshape(rpb, op.constant([0, count]))
    padded = op.Pad(flat, op.constant([0, 0, 0, 1]), op.constant(-np.inf, np.float32))
    bias: ir.Value = op.Gather(padded, op.constant(index, np.int32), axis=1)
    return bias
