"""Neighborhood attention in standard ONNX: tiles of queries against the halo of keys that they see.

A map is cut into tiles of queries; all queries of a tile attend to the same stretch of keys (the halo), and a bias
of minus infinity takes out the pairs that are no neighbours. So the op becomes two batched MatMuls around a Softmax::

      query [tokens] --Gather query_index--> [tiles, queries] -+
                                                               MatMul + bias -> Softmax -> MatMul -> Gather -> tokens
      key   [tokens] --Gather key_index----> [tiles, keys] ----+                            |
      value [tokens] --Gather key_index----> [tiles, keys] ---------------------------------+

Index tables describe it. ``onnx_function.py`` computes them inside the graph, ``onnx_portable.py`` ahead of time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from natdeploy.ops.onnx_nodes import NodeBuilder

# Queries per tile and axis, at the most. A larger tile multiplies more pairs that are no neighbours and needs a
# larger bias table, a smaller one copies more keys. nat_mini at 224 px, ONNX Runtime 1.32, one core of an AMD EPYC,
# shortest of 14 runs: attention takes 13.5 ms in tiles of 4, 16.3 in 5, 14.3 in 7, 14.6 in 8; the rest 33.5 ms.
TILE = 4
# An axis of so many tokens is one tile: the 7x7 maps take 0.6 ms whole and 1.0 ms in tiles of 4.
WHOLE = 8


@dataclass(frozen=True)
class TileTables:
    """Index tables as graph values; all None where one tile is the whole map.

    Args:
        query: ``[tiles, queries]`` token of each query (the last one of its group is repeated to fill a tile).
        key: ``[tiles, keys]`` token of each key in the tile's halo.
        where: ``[tokens]`` position of each token among ``tiles * queries``.
        places: Shape ``[B, heads, tiles * queries, head_dim]``; a 0 keeps the dimension as it is.
    """

    query: ir.Value | None
    key: ir.Value | None
    where: ir.Value | None
    places: ir.Value | None


def attention_over_tiles(
    op: NodeBuilder,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    scores_bias: ir.Value | None,
    tables: TileTables,
    gathered: bool = False,
) -> ir.Value:
    """Attend; gives ``[B, heads, tokens, head_dim]`` float32.

    Args:
        op: Takes the nodes.
        query: ``[B, heads, tokens, head_dim]`` float32, scaled already; key and value alike.
        key: See query.
        value: See query.
        scores_bias: ``[heads or 1, tiles, queries, keys]`` float32, or None.
        tables: The index tables; ``query`` None means one tile that is the whole map.
        gathered: Whether query, key and value are ``[B, heads, tiles, queries or keys, head_dim]`` already.
    """
    tiled = tables.query is not None
    if tiled and not gathered:
        query = op.Gather(query, tables.query, axis=2)
        key, value = op.Gather(key, tables.key, axis=2), op.Gather(value, tables.key, axis=2)
    scores = op.MatMul(query, op.Transpose(key, perm=[0, 1, 2, 4, 3] if tiled else [0, 1, 3, 2]))
    if scores_bias is not None:
        scores = op.Add(scores, scores_bias)
    output: ir.Value = op.MatMul(op.Softmax(scores, axis=-1), value)
    if tiled:
        output = op.Gather(op.Reshape(output, tables.places), tables.where, axis=2)
    return output


def bias_from_rpb(op: NodeBuilder, rpb: ir.Value | None, bias_index: ir.Value, count: ir.Value) -> ir.Value:
    """Look up the bias of every pair of a tile.

    Args:
        op: Takes the nodes.
        rpb: ``[heads, 2*k-1 per axis]`` float32, or None.
        bias_index: ``[tiles, queries, keys]`` index into the flattened rpb, ``count`` where not a neighbour.
        count: int64 scalar, ``prod(2*k-1)``: the index that means "not a neighbour".

    Returns:
        ``[heads or 1, tiles, queries, keys]`` float32.
    """
    minus_infinity = op.constant(-np.inf, np.float32)
    if rpb is None:
        outside = op.Equal(bias_index, count)
        mask = op.Where(outside, minus_infinity, op.constant(0, np.float32))
        unsqueezed: ir.Value = op.Unsqueeze(mask, op.constant([0]))
        return unsqueezed
    heads = op.Shape(rpb, start=0, end=1)
    flat = op.Flatten(rpb, axis=1)
    column = op.Expand(minus_infinity, op.Concat(heads, op.constant([1]), axis=0))
    bias: ir.Value = op.Gather(op.Concat(flat, column, axis=1), bias_index, axis=1)
    return bias
