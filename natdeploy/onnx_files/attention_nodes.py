"""Reading the op's nodes in an ONNX graph: checked against the declaration before anything trusts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import check_onnx, read_onnx
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION, OPERATORS, PACKED, AttributeType, Neighborhood

_KINDS = {
    AttributeType.INT: ir.AttributeType.INT,
    AttributeType.INTS: ir.AttributeType.INTS,
    AttributeType.FLOAT: ir.AttributeType.FLOAT,
    AttributeType.STRING: ir.AttributeType.STRING,
}

_LARGEST = 2**31 - 1  # kernels count in 32 bits
MAX_EXTENT = 16384  # of a map; no larger images are exported, and tables are written per row and column
_SHOWN = 8  # problems that an error lists; the rest is counted


@dataclass(frozen=True)
class AttentionNode:
    """One attention node, understood.

    Args:
        node: The node itself.
        neighborhood: Its window.
        num_heads: Heads; None where the split form's shapes do not say.
        head_dim: Channels of a head; None where the shapes do not say.
        extents: Spatial size of the map; None for a free axis.
        has_rpb: Whether it has a relative positional bias.
        dtype: Of the data tensors; float32 where the file does not say.
    """

    node: ir.Node
    neighborhood: Neighborhood
    num_heads: int | None
    head_dim: int | None
    extents: tuple[int | None, ...]
    has_rpb: bool
    dtype: ir.DataType

    @property
    def rank(self) -> int:
        """Spatial rank."""
        return self.neighborhood.rank

    @property
    def fixed_extents(self) -> tuple[int, ...] | None:
        """Spatial size of the map where all of it is fixed, else None."""
        known = tuple(e for e in self.extents if e is not None)
        return known if len(known) == len(self.extents) == self.rank else None


def checked_model_and_attention(
    path: Path, rule: Callable[[Sequence[AttentionNode], str], None] | None = None
) -> tuple[ir.Model, tuple[AttentionNode, ...]]:
    """Read a file that came from elsewhere, and check it: the op's nodes by our rules, then all of it by ONNX's.

    Args:
        path: The file.
        rule: One more of ours; gets the nodes and what to call the file.

    Raises:
        NatdeployError: If it cannot be read, or breaks a rule; ours come first, as they have the better words.
    """
    model = read_onnx(path)
    nodes = attention_nodes(model, path.name)
    if rule is not None:
        rule(nodes, path.name)
    check_onnx(path)
    return model, nodes


def attention_nodes(model: ir.Model, source: str) -> tuple[AttentionNode, ...]:
    """Find and check every node of the op, in graph order.

    Raises:
        NatdeployError: With every problem: unknown op types of our domain, a newer op version, bad attributes.
    """
    version = model.graph.opset_imports.get(DOMAIN)
    if version is not None and version > DOMAIN_VERSION:
        raise NatdeployError(
            f"'{source}' uses version {version} of the natdeploy operator",
            needed=f"version {DOMAIN_VERSION} or older",
            next_step="Update natdeploy",
        )
    found, problems = [], []
    for node in _nodes_of_domain(model):
        if node.op_type not in OPERATORS:
            problems.append(f"'{node.name}': there is no op {DOMAIN}::{node.op_type}")
            continue
        if node_problems := _attribute_problems(node):
            problems += [f"'{node.name}': {problem}" for problem in node_problems]
            continue
        understood = _understood(node)
        node_problems = understood.neighborhood.problems(understood.fixed_extents, understood.has_rpb)
        node_problems = node_problems or _shape_problems(understood)
        problems += [f"'{node.name}': {problem}" for problem in node_problems]
        found.append(understood)
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + (f"; and {len(problems) - _SHOWN} more" if problems[_SHOWN:] else "")
        raise NatdeployError(f"'{source}' has nodes that break the operator's contract", got=shown)
    return tuple(found)


def _nodes_of_domain(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in model.graph if node.domain == DOMAIN)


def _attribute_problems(node: ir.Node) -> list[str]:
    problems = []
    for declared in OPERATORS[node.op_type].attributes:
        attribute = node.attributes.get(declared.name)
        if attribute is None:
            problems.append(f"attribute {declared.name} is missing")
        elif attribute.is_ref():
            problems.append(f"attribute {declared.name} refers to a function's, outside of any function")
        elif attribute.type != _KINDS[declared.type]:
            problems.append(f"attribute {declared.name} is {attribute.type.name}, not {declared.type.value}")
        elif not all(abs(value) <= _LARGEST for value in _integers(attribute)):
            problems.append(f"attribute {declared.name} is {attribute.value}, beyond {_LARGEST}")
    data = 1 if node.op_type == PACKED else 3
    if not data <= len(node.inputs) <= data + 1 or any(value is None for value in node.inputs):
        problems.append(f"it has {len(node.inputs)} inputs, not {data} or {data + 1}")
    return problems


def _integers(attribute: ir.Attr) -> Sequence[int]:
    if attribute.type == ir.AttributeType.INTS:
        return attribute.as_ints()
    return [attribute.as_int()] if attribute.type == ir.AttributeType.INT else []


def _shape_problems(attention: AttentionNode) -> list[str]:
    """Compare the shapes that the file gives with the attributes; shapes that it does not give are not judged."""
    node, neighborhood = attention.node, attention.neighborhood
    problems = []
    if attention.num_heads is not None and attention.num_heads < 1:
        return [f"num_heads is {attention.num_heads}"]
    rank = neighborhood.rank + (2 if node.op_type == PACKED else 3)
    data = [value for value in node.inputs if value is not None]
    rpb = data.pop() if attention.has_rpb else None
    for value in data:
        if value.shape is not None and len(value.shape) != rank:
            problems.append(f"'{value.name}' has {len(value.shape)} dimensions, not {rank}")
    too_large = [extent for extent in attention.extents if extent is not None and extent > MAX_EXTENT]
    problems += [f"a map's extent is {extent}, beyond {MAX_EXTENT}" for extent in too_large]
    channels = data[0].shape[-1] if data[0].shape is not None and len(data[0].shape) == rank else None
    heads = attention.num_heads or 1
    if node.op_type == PACKED and isinstance(channels, int) and channels % (3 * heads):
        problems.append(f"{channels} channels are not divisible into query, key and value of {heads} heads")
    table = None if rpb is None else rpb.shape if rpb.const_value is None else rpb.const_value.shape
    if rpb is not None and table is not None and all(isinstance(dim, int) for dim in table):
        wanted = (*([attention.num_heads] if attention.num_heads else table[:1]), *neighborhood.rpb_shape)
        if tuple(table) != wanted:
            problems.append(f"'{rpb.name}' is {list(table)}, not {list(wanted)}")
    return problems


def _understood(node: ir.Node) -> AttentionNode:
    attributes = node.attributes
    neighborhood = Neighborhood.of(
        attributes["kernel_size"].as_ints(),
        attributes["scale"].as_float(),
        attributes["dilation"].as_ints(),
        attributes["stride"].as_ints(),
        attributes["is_causal"].as_ints(),
    )
    packed = node.op_type == PACKED
    data = node.inputs[0]
    assert data is not None
    dims = [d if isinstance(d, int) else None for d in data.shape] if data.shape is not None else []
    spatial = tuple(dims[1 : 1 + neighborhood.rank])
    if packed:
        num_heads: int | None = attributes["num_heads"].as_int()
        channels = dims[-1] if dims else None
        head_dim = channels // (3 * num_heads) if channels and num_heads else None
    else:
        num_heads, head_dim = (dims[-2], dims[-1]) if len(dims) > 1 else (None, None)
    return AttentionNode(
        node=node,
        neighborhood=neighborhood,
        num_heads=num_heads,
        head_dim=head_dim,
        extents=spatial,
        has_rpb=len(node.inputs) == (2 if packed else 4),
        dtype=data.dtype or ir.DataType.FLOAT,
    )
