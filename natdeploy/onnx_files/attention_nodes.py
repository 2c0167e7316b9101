"""Reading the op's nodes in an ONNX graph: checked against the declaration before anything trusts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from natdeploy.errors import NatdeployError
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION, OPERATORS, PACKED, AttributeType, Neighborhood

_KINDS = {
    AttributeType.INT: ir.AttributeType.INT,
    AttributeType.INTS: ir.AttributeType.INTS,
    AttributeType.FLOAT: ir.AttributeType.FLOAT,
    AttributeType.STRING: ir.AttributeType.STRING,
}


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
        problems += [
            f"'{node.name}': {problem}"
            for problem in understood.neighborhood.problems(understood.fixed_extents, understood.has_rpb)
        ]
        found.append(understood)
    if problems:
        raise NatdeployError(f"'{source}' has nodes that break the operator's contract", got="; ".join(problems))
    return tuple(found)


def _nodes_of_domain(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in model.graph if node.domain == DOMAIN)


def _attribute_problems(node: ir.Node) -> list[str]:
    problems = []
    for declared in OPERATORS[node.op_type].attributes:
        attribute = node.attributes.get(declared.name)
        if attribute is None:
            problems.append(f"attribute {declared.name} is missing")
        elif attribute.type != _KINDS[declared.type]:
            problems.append(f"attribute {declared.name} is {attribute.type.name}, not {declared.type.value}")
    data = 1 if node.op_type == PACKED else 3
    if not data <= len(node.inputs) <= data + 1 or any(value is None for value in node.inputs):
        problems.append(f"it has {len(node.inputs)} inputs, not {data} or {data + 1}")
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
        num_heads, head_dim = (dims[-2], dims[-1]) if dims else (None, None)
    return AttentionNode(
        node=node,
        neighborhood=neighborhood,
        num_heads=num_heads,
        head_dim=head_dim,
        extents=spatial,
        has_rpb=len(node.inputs) == (2 if packed else 4),
        dtype=data.dtype or ir.DataType.FLOAT,
    )
