"""The three forms of one model (docs/design.md §4), on graphs in memory; lower.py does it for files.

``plugin``: custom nodes only. ``hybrid``: these, and the function that computes them. ``portable``: standard ONNX.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.attention_nodes import AttentionNode, attention_nodes
from natdeploy.onnx_files.nodes import constants_into, replace_node
from natdeploy.ops.onnx_function import function_for
from natdeploy.ops.onnx_nodes import OPSET, NodeBuilder
from natdeploy.ops.onnx_portable import portable_attention
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION
from natdeploy.ops.support import Use, unsupported_reasons


def convert_form(model: ir.Model, form: str, source: str) -> None:
    """Bring ``model`` into ``form``, in place.

    Args:
        model: Any form that has the op's nodes (``plugin`` or ``hybrid``).
        form: The form wanted.
        source: What to call the model in errors.

    Raises:
        NatdeployError: If the op is not in it, breaks its contract, or cannot take that form, with every reason.
    """
    nodes = attention_nodes(model, source)
    if not nodes:
        raise NatdeployError(
            f"'{source}' has no neighborhood attention node",
            needed="a file of the plugin or hybrid form (the portable form cannot be turned back)",
        )
    for identifier in [key for key in model.functions if key[0] == DOMAIN]:
        del model.functions[identifier]
    if form == "plugin":
        return
    _check_supported(nodes, form, source)
    if form == "hybrid":
        _add_functions(model, nodes, source)
    else:
        _make_portable(model, nodes, source)


def _check_supported(nodes: tuple[AttentionNode, ...], form: str, source: str) -> None:
    reasons = {
        reason
        for n in nodes
        for reason in unsupported_reasons(Use(form, "onnxruntime", n.neighborhood, n.has_rpb, "float32"))
    }
    if reasons:
        raise NatdeployError(f"'{source}' cannot be written in the {form} form", got="; ".join(sorted(reasons)))


def _add_functions(model: ir.Model, nodes: tuple[AttentionNode, ...], source: str) -> None:
    """Append the function of each op type; a file needs one body for all nodes of a type."""
    for op_type in sorted({n.node.op_type for n in nodes}):
        kinds = {(n.rank, n.has_rpb) for n in nodes if n.node.op_type == op_type}
        if len(kinds) > 1:
            raise NatdeployError(
                f"'{source}' cannot be written in the hybrid form: its {op_type} nodes differ in rank or in having a "
                f"relative positional bias, and one function body cannot serve both",
                next_step="Use --form plugin or --form portable",
            )
        function = function_for(op_type, *kinds.pop())
        function.opset_imports[""] = max(OPSET, model.graph.opset_imports.get("", OPSET))  # ONNX wants them alike
        model.functions[function.identifier()] = function
    model.graph.opset_imports[DOMAIN] = DOMAIN_VERSION


def _make_portable(model: ir.Model, nodes: tuple[AttentionNode, ...], source: str) -> None:
    """Write constant tables where the map's size is fixed, and inline the function elsewhere."""
    free = [n for n in nodes if not _lower_fixed(model, n)]
    if free:
        _add_functions(model, tuple(free), source)
        InlinePass()(model)
        model.functions.clear()
    model.graph.opset_imports.pop(DOMAIN, None)


def _lower_fixed(model: ir.Model, attention: AttentionNode) -> bool:
    """Replace a node whose map has a fixed size; False where it has not."""
    extents = attention.fixed_extents
    if extents is None or attention.num_heads is None or attention.head_dim is None:
        return False
    node = attention.node
    inputs = [value for value in node.inputs if value is not None]
    num_heads, head_dim = attention.num_heads, attention.head_dim
    op = NodeBuilder(constants_into(model.graph))
    replace_node(
        node,
        op.nodes,
        lambda: portable_attention(
            op, node.op_type, inputs, num_heads, head_dim, extents, attention.neighborhood, attention.dtype
        ),
    )
    return True
