"""Which nodes stay float32 in a float16 or bfloat16 file, and why.

What multiplies weights runs in the half type: it is nearly all of the time and of the memory traffic. What stays
float32 is cheap, and loses accuracy or overflows in half: norms, softmax, sums over pixels, the classifier, and inside
attention everything but its input and output, as the operator's contract has it (docs/design.md §3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import onnx_ir as ir

from natdeploy.errors import NatdeployError
from natdeploy.input_format import NORMALISED
from natdeploy.ops.spec import DOMAIN, OPERATORS

# By the names of the command line.
HALVES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}

# Standard operators that calculate well in a half type. What is in none of these three sets stays float32; a test
# compares the first two with ONNX's own schemas.
CALCULATES = frozenset(
    {
        "Abs",
        "Add",
        "Clip",
        "Conv",
        "ConvTranspose",
        "Div",
        "Gelu",
        "Gemm",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "MatMul",
        "Max",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Relu",
        "Sigmoid",
        "Sub",
        "Tanh",
        "Where",
    }
)
# They only move numbers, so they take the type in which the numbers come.
MOVES = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
# They take any type, so their inputs are never cast.
TYPELESS = frozenset({"Cast", "CastLike", "Shape", "Size"})

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

NORMS, SOFTMAX, SUMS, OTHERS = "norms", "softmax", "sums over pixels", "operators without a half type"
ATTENTION, CLASSIFIER = "inside of attention (scores, bias, sums)", "classifier"
NORMALISATION = "normalisation of pixels"
_BY_OP_TYPE = (
    (re.compile(r"\w+Normalization"), NORMS),
    (re.compile(r"(Log)?Softmax"), SOFTMAX),
    (re.compile(r"Reduce\w+|(Global)?(Average|Lp)Pool"), SUMS),
)


def nodes_of_policy(model: ir.Model, probes: Sequence[str]) -> dict[ir.Node, str]:
    """Give the nodes that stay float32 in every file, each with its reason.

    Args:
        model: The model, with the types of its values.
        probes: Names of inner tensors: what gives one is not taken for a part of attention's inside.
    """
    computed = computed_values(model.graph)
    kept = {node: reason for node in model.graph if (reason := _reason_by_type(node, computed)) is not None}
    kept |= dict.fromkeys(_normalisation(model.graph, computed, probes), NORMALISATION)
    for node in _classifier(model.graph, computed):
        kept.setdefault(node, CLASSIFIER)
    names = {*probes, *(output.name for output in model.graph.outputs)}
    for node in reversed(list(model.graph)):
        if node not in kept and any(value in computed for value in node.inputs) and _leads_into(node, kept, names):
            kept[node] = ATTENTION
    return kept


def nodes_named(model: ir.Model, patterns: Sequence[str], probes: Sequence[str]) -> dict[ir.Node, str]:
    """Give the nodes that a user wants in float32, each with its layer.

    Args:
        model: The model.
        patterns: Shell patterns (``stage1.*``, ``*.mlp``) of layers, inner tensors, weights or nodes.
        probes: See :func:`layers_of`.

    Raises:
        NatdeployError: If a pattern fits nothing.
    """
    found: dict[ir.Node, str] = {}
    used = set()
    for node, layer in layers_of(model, probes).items():
        fitting = {p for p in patterns if any(fnmatchcase(name, p) for name in _names(node, layer))}
        if fitting:
            found[node] = layer
        used |= fitting
    if unused := [pattern for pattern in patterns if pattern not in used]:
        raise NatdeployError(
            f"no layer fits {', '.join(repr(pattern) for pattern in unused)}",
            needed="a pattern like 'stage1.*' or '*.mlp', for names of layers, weights or nodes",
            next_step="`natdeploy inspect FILE --probes` lists the layers of a file",
        )
    return found


def layers_of(model: ir.Model, probes: Sequence[str]) -> dict[ir.Node, str]:
    """Give the layer of every node: the first of the probes at or after it in the graph, or else its own output."""
    wanted, layer = set(probes), ""
    layers: dict[ir.Node, str] = {}
    for node in reversed(list(model.graph)):
        layer = next((output.name for output in node.outputs if output.name and output.name in wanted), layer)
        layers[node] = layer or node.outputs[0].name or node.op_type
    return dict(reversed(layers.items()))


def nodes_of_weights(model: ir.Model, weights: Iterable[ir.Value]) -> Iterator[ir.Node]:
    """Give the nodes that use these weights, and those that use another weight of the same layer (its bias)."""
    names = {weight.name or "" for weight in weights}
    layers = {name.rpartition(".")[0] for name in names} - {""}
    for node in model.graph:
        if any(name in names or name.rpartition(".")[0] in layers for name in _weight_names(node)):
            yield node


def computed_values(graph: ir.Graph) -> set[ir.Value]:
    """Give the values that depend on what the model's inputs hold; those of their shapes alone do not count."""
    computed = {value for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        if node.op_type not in ("Shape", "Size") and any(value in computed for value in node.inputs):
            computed.update(node.outputs)
    return computed


def is_attention(node: ir.Node) -> bool:
    """Whether it is a node of our operator."""
    return node.domain == DOMAIN and node.op_type in OPERATORS


def _reason_by_type(node: ir.Node, computed: set[ir.Value]) -> str | None:
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    if is_attention(node) or not any(value.dtype == ir.DataType.FLOAT for value in values):
        return None
    if not any(value in computed for value in node.inputs):
        return None
    if node.domain == "":
        for pattern, reason in _BY_OP_TYPE:
            if pattern.fullmatch(node.op_type):
                return reason
        if node.op_type == "MatMul" and all(value in computed for value in node.inputs):
            return ATTENTION
        if node.op_type in CALCULATES | MOVES | TYPELESS:
            return None
    return OTHERS


def _classifier(graph: ir.Graph, computed: set[ir.Value]) -> Iterator[ir.Node]:
    """Walk back from ``logits``, and from outputs that are no map, to what multiplies weights, it included."""
    ends = [o for o in graph.outputs if o.name == "logits" or (o.shape is not None and len(o.shape) <= 2)]
    front, seen = list(ends), set[ir.Node]()
    while front:
        node = front.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        if node.op_type not in _WEIGHTED and not node.op_type.startswith("Reduce") and node.domain == "":
            front += [value for value in node.inputs if value is not None and value in computed]


def _normalisation(graph: ir.Graph, computed: set[ir.Value], probes: Sequence[str]) -> Iterator[ir.Node]:
    """Walk back from what the model takes, in a file that takes pixels, to these."""
    front = [node for node in graph if NORMALISED in probes and node.outputs[0].name == NORMALISED]
    while front:
        node = front.pop()
        yield node
        front += [producer for value in node.inputs if value in computed and (producer := value.producer()) is not None]


def _leads_into(node: ir.Node, kept: dict[ir.Node, str], names: set[str | None]) -> bool:
    """Whether all that a cheap node gives goes into softmax or the products of attention."""
    if node.domain != "" or node.op_type not in (CALCULATES | MOVES) - _WEIGHTED:
        return False
    users = [user for output in node.outputs for user in output.consumers()]
    inside = all(kept.get(user) in (ATTENTION, SOFTMAX) for user in users)
    return bool(users) and inside and not any(output.name in names for output in node.outputs)


def _names(node: ir.Node, layer: str) -> Iterator[str]:
    yield layer
    yield node.name or ""
    yield from (output.name or "" for output in node.outputs)
    yield from _weight_names(node)


def _weight_names(node: ir.Node) -> Iterator[str]:
    return (value.name or "" for value in node.inputs if value is not None and value.is_initializer())
