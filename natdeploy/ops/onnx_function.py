"""The FunctionProto of the op: standard ONNX that any runtime can inline, right for fixed and for free sizes.

Its body computes the tile tables (onnx_tiles.py) from the input's shape and the node's attributes. Where the shape is
fixed, a runtime's constant folding turns them into constants. Inputs of any float type; arithmetic is float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from natdeploy.ops.onnx_nodes import OPSET, NodeBuilder
from natdeploy.ops.onnx_tiles import TILE, WHOLE, TileTables, attention_over_tiles, bias_from_rpb
from natdeploy.ops.spec import DOMAIN, OPERATORS, PACKED


@dataclass(frozen=True)
class _Axis:
    """One axis' tables, as graph values: int64, shapes as written."""

    query: ir.Value  # [tiles, queries] token of each query
    key: ir.Value  # [tiles, keys] token of each key
    relative: ir.Value  # [tiles, queries, keys] neighbour - token + k - 1
    inside: ir.Value  # [tiles, queries, keys] bool: is it a neighbour?
    tile_of: ir.Value  # [extent] tile of each token
    place_of: ir.Value  # [extent] place of each token in its tile
    extent: ir.Value  # scalar
    tiles: ir.Value  # scalar
    queries: ir.Value  # scalar
    span: ir.Value  # scalar 2k - 1


def function_for(op_type: str, rank: int, has_rpb: bool) -> ir.Function:
    """Write the function body for one op type, spatial rank (1 to 3) and presence of rpb.

    A FunctionProto has no optional inputs that are really left out (ONNX Runtime 1.31 refuses the session), so a file
    needs the body that fits its nodes. Stride and causality are not in it: support.py refuses them.
    """
    spec = OPERATORS[op_type]
    names = [tensor.name for tensor in spec.inputs if has_rpb or tensor.name != "rpb"]
    inputs = [ir.Value(name=name) for name in names]
    op = NodeBuilder()
    rpb = op.Cast(inputs[-1], to=ir.DataType.FLOAT) if has_rpb else None
    data = inputs[:-1] if has_rpb else inputs
    query, key, value, extents = _heads_first(op, op_type, data, rank)
    tables, bias_index, count = _tile_tables(op, rank, extents, op.Shape(query, start=3))
    scaled = op.Mul(query, op.attribute("scale", "float"))
    bias = bias_from_rpb(op, rpb, bias_index, count)
    attended = op.Transpose(attention_over_tiles(op, scaled, key, value, bias, tables), perm=[0, 2, 1, 3])
    output = op.CastLike(op.Reshape(attended, _output_shape(op, op_type, data[0], rank)), data[0])
    output.name = spec.output.name
    attribute_types = {a.name: ir.AttributeType[a.type.name] for a in spec.attributes}
    graph = ir.Graph(inputs, [output], nodes=op.nodes, opset_imports={"": OPSET}, name=op_type)
    attributes = [ir.Attr(name, kind, None) for name, kind in attribute_types.items()]
    return ir.Function(DOMAIN, op_type, graph=graph, attributes=attributes)


def _heads_first(
    op: NodeBuilder, op_type: str, data: list[ir.Value], rank: int
) -> tuple[ir.Value, ir.Value, ir.Value, list[ir.Value]]:
    """Give query, key, value as ``[B, heads, tokens, head_dim]`` float32, and the spatial extents as scalars."""
    shape = op.Shape(data[0])
    extents = [op.Gather(shape, op.constant(1 + axis)) for axis in range(rank)]
    batch = op.Shape(data[0], start=0, end=1)
    tokens = op.ReduceProd(op.Shape(data[0], start=1, end=1 + rank), keepdims=1)
    floats = [op.Cast(x, to=ir.DataType.FLOAT) for x in data]
    if op_type == PACKED:
        heads = op.Reshape(op.attribute("num_heads", "int"), op.constant([1]))
        three = op.constant([3])
        head_dim = op.Div(op.Shape(data[0], start=1 + rank), op.Mul(three, heads))
        parts = op.Reshape(floats[0], op.Concat(batch, tokens, three, heads, head_dim, axis=0))
        parts = op.Transpose(parts, perm=[2, 0, 3, 1, 4])
        query, key, value = (op.Gather(parts, op.constant(i), axis=0) for i in range(3))
        return query, key, value, extents
    heads_and_dim = op.Shape(data[0], start=1 + rank)
    flat = op.Concat(batch, tokens, heads_and_dim, axis=0)
    query, key, value = (op.Transpose(op.Reshape(x, flat), perm=[0, 2, 1, 3]) for x in floats)
    return query, key, value, extents


def _output_shape(op: NodeBuilder, op_type: str, data: ir.Value, rank: int) -> ir.Value:
    shape: ir.Value
    if op_type == PACKED:
        channels = op.Div(op.Shape(data, start=1 + rank), op.constant([3]))
        shape = op.Concat(op.Shape(data, start=0, end=1 + rank), channels, axis=0)
    else:
        shape = op.Shape(data)
    return shape


def _axis(op: NodeBuilder, extent: ir.Value, kernel: ir.Value, dilation: ir.Value) -> _Axis:
    """Compute one axis' tables; all inputs are int64 scalars.

    The tiles of all dilation groups stand in one row, group after group, ``per_group`` each. Groups may differ in
    length by one (dilation with remainder); tables are cut for the longest.
    """
    zero, one = op.constant(0), op.constant(1)
    longest = _ceil_div(op, extent, dilation)
    is_whole = op.LessOrEqual(longest, op.constant(WHOLE))
    per_group = op.Where(is_whole, one, _ceil_div(op, longest, op.constant(TILE)))
    queries = _ceil_div(op, longest, per_group)
    keys = op.Min(op.Sub(op.Add(queries, kernel), one), longest)
    tiles = op.Mul(dilation, per_group)
    half = op.Div(kernel, op.constant(2))

    tile = op.Unsqueeze(op.Range(zero, tiles, one), op.constant([1]))  # [tiles, 1]
    group, first = op.Div(tile, per_group), op.Mul(op.Mod(tile, per_group), queries)
    length = op.Add(op.Div(op.Sub(op.Sub(extent, one), group), dilation), one)  # of the tile's group
    last = op.Sub(length, one)
    query = op.Min(op.Add(first, op.Range(zero, queries, one)), last)  # [tiles, queries], inside the group
    halo = op.Max(op.Min(op.Sub(first, half), op.Sub(length, keys)), zero)
    key = op.Add(halo, op.Range(zero, keys, one))  # [tiles, keys]
    start = op.Min(op.Max(op.Sub(query, half), zero), op.Sub(length, kernel))  # of each query's window

    pair_key, pair_query = op.Unsqueeze(key, op.constant([1])), op.Unsqueeze(query, op.constant([2]))
    pair_start = op.Unsqueeze(start, op.constant([2]))
    inside = op.And(op.GreaterOrEqual(pair_key, pair_start), op.Less(pair_key, op.Add(pair_start, kernel)))
    relative = op.Add(op.Sub(pair_key, pair_query), op.Sub(kernel, one))

    token = op.Range(zero, extent, one)
    place = op.Div(token, dilation)  # inside its group
    return _Axis(
        query=op.Add(op.Mul(query, dilation), group),
        key=op.Add(op.Mul(op.Min(key, last), dilation), group),
        relative=relative,
        inside=inside,
        tile_of=op.Add(op.Mul(op.Mod(token, dilation), per_group), op.Div(place, queries)),
        place_of=op.Mod(place, queries),
        extent=extent,
        tiles=tiles,
        queries=queries,
        span=op.Sub(op.Mul(kernel, op.constant(2)), one),
    )


def _tile_tables(
    op: NodeBuilder, rank: int, extents: list[ir.Value], head_dim: ir.Value
) -> tuple[TileTables, ir.Value, ir.Value]:
    """Combine the axes' tables into flat ones; also the index of each pair's bias, and ``prod(2k - 1)``."""
    kernel_size, dilation = op.attribute("kernel_size", "ints"), op.attribute("dilation", "ints")
    axes = [
        _axis(op, extent, op.Gather(kernel_size, op.constant(i)), op.Gather(dilation, op.constant(i)))
        for i, extent in enumerate(extents)
    ]
    count = _product(op, [axis.span for axis in axes])
    all_extents = [axis.extent for axis in axes]
    query = _flat(op, [axis.query for axis in axes], all_extents, dims=2)
    key = _flat(op, [axis.key for axis in axes], all_extents, dims=2)
    # A pair that is no neighbour along any axis gets an index of at least `count`.
    pairs = _mixed_radix(op, [a.relative for a in axes], [a.span for a in axes])
    outside = [op.Where(a.inside, scaled, count) for a, scaled in zip(axes, pairs, strict=True)]
    bias = op.Min(_grid_sum(op, outside, dims=3), count)
    per_tile = _product(op, [a.queries for a in axes])
    tile_of = _mixed_sum(op, [a.tile_of for a in axes], [a.tiles for a in axes])
    place_of = _mixed_sum(op, [a.place_of for a in axes], [a.queries for a in axes])
    where = op.Reshape(op.Add(op.Mul(tile_of, per_tile), place_of), op.constant([-1]))
    count_of_places = op.Unsqueeze(op.Mul(_product(op, [a.tiles for a in axes]), per_tile), op.constant([0]))
    places = op.Concat(op.constant([0, 0]), count_of_places, head_dim, axis=0)
    return TileTables(query=query, key=key, where=where, places=places), bias, count


def _mixed_radix(op: NodeBuilder, digits: list[ir.Value], radices: list[ir.Value]) -> list[ir.Value]:
    """Multiply each axis' digit by the product of the later radices, so that their sum is a flat index."""
    return [
        op.Mul(digit, _product(op, radices[i + 1 :])) if radices[i + 1 :] else digit for i, digit in enumerate(digits)
    ]


def _mixed_sum(op: NodeBuilder, digits: list[ir.Value], radices: list[ir.Value]) -> ir.Value:
    """Flat index over the grid of all axes, from one-dimensional digits: ``[n0, n1, ...]``."""
    scaled = _mixed_radix(op, digits, radices)
    total: ir.Value | None = None
    for i, x in enumerate(scaled):
        others = [j for j in range(len(scaled)) if j != i]
        spread = op.Unsqueeze(x, op.constant(others)) if others else x
        total = spread if total is None else op.Add(total, spread)
    assert total is not None
    return total


def _flat(op: NodeBuilder, digits: list[ir.Value], radices: list[ir.Value], dims: int) -> ir.Value:
    return _grid_sum(op, _mixed_radix(op, digits, radices), dims)


def _grid_sum(op: NodeBuilder, terms: list[ir.Value], dims: int) -> ir.Value:
    """Sum the axes' terms, each with ``dims`` dimensions, over the product grid: dimension by dimension flattened.

    Terms ``[a0, b0], [a1, b1]`` give ``[a0*a1, b0*b1]``.
    """
    rank = len(terms)
    total: ir.Value | None = None
    for i, term in enumerate(terms):
        others = [d * rank + j for d in range(dims) for j in range(rank) if j != i]
        spread = op.Unsqueeze(term, op.constant(others)) if others else term
        total = spread if total is None else op.Add(total, spread)
    assert total is not None
    if rank == 1:
        return total
    sizes = [op.ReduceProd(op.Shape(total, start=d * rank, end=(d + 1) * rank), keepdims=1) for d in range(dims)]
    flat: ir.Value = op.Reshape(total, op.Concat(*sizes, axis=0))
    return flat


def _ceil_div(op: NodeBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    quotient: ir.Value = op.Div(op.Sub(op.Add(a, b), op.constant(1)), b)
    return quotient


def _product(op: NodeBuilder, values: list[ir.Value]) -> ir.Value:
    result = values[0]
    for value in values[1:]:
        result = op.Mul(result, value)
    return result
