"""``convert_precision``: a strongly typed float16 or bfloat16 graph from a float32 one, and a report.

Every tensor of the result has a type of its own and every change of type is a Cast node, so that strongly typed
networks (TensorRT 11 has no others) compute just what the file says.

The pass is our own; none of what there is fits (the first was tried on our files, of the others the code was read):

* onnxruntime 1.32 (``transformers.float16``; onnxconverter-common and Polygraphy's ``--fp-to-fp16`` are older copies of
  it): no bfloat16. It takes our op for one that is float16 throughout, so it halves the relative positional bias,
  which the operator wants in float32, and has no option for one input of an op. It appends its Casts at the end of the
  node list, which ONNX's checker refuses as not sorted.
* ModelOpt's AutoCast 0.47: moves every op that ONNX does not know to the domain ``trt.plugins``, where neither ONNX
  Runtime nor the file's own function finds it, and needs TensorRT and a GPU to learn the types of custom ops.
* onnx-ir 1.1 and onnxscript 0.7: no pass changes precision.

What they do offer is used: onnx-ir for the graph, ONNX's shape inference for the types, ml_dtypes for rounding, ONNX's
checker on what is written. The function in a hybrid file needs no change: it casts to float32 and back
(``ops/onnx_function.py``), whatever type its input has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.metadata import KEY, metadata_if_any
from natdeploy.precision.policy import (
    ATTENTION,
    CALCULATES,
    HALVES,
    MOVES,
    SOFTMAX,
    computed_values,
    is_attention,
    layers_of,
    nodes_named,
    nodes_of_policy,
    nodes_of_weights,
)
from natdeploy.precision.retype import TypedGraph, typed_inputs
from natdeploy.precision.weights import Rounding, overflowing

# The first opset whose convolution takes bfloat16. From 20 to 22 nothing but what is listed changes its meaning.
_OPSET_OF_BFLOAT16 = 22
_OLDEST_OPSETS = {ir.DataType.FLOAT16: 13, ir.DataType.BFLOAT16: 20}
_CHANGED_SINCE_20 = frozenset({"GroupNormalization"})


@dataclass(frozen=True)
class PrecisionReport:
    """What a conversion did.

    Args:
        weights: ``float16`` or ``bfloat16``.
        half_nodes: Nodes that calculate or move numbers in that type.
        casts: Cast nodes added.
        kept_float32: Why nodes stayed float32, each reason once.
        asked_for: Layers that stayed float32 because the user wanted so.
        out_of_range: Weights that the type cannot hold, by name, and their largest magnitude; their layers stayed.
        rounding: What became of the numbers of the others.
    """

    weights: str
    half_nodes: int
    casts: int
    kept_float32: tuple[str, ...]
    asked_for: tuple[str, ...]
    out_of_range: tuple[tuple[str, float], ...]
    rounding: Rounding

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON types."""
        return {**asdict(self), "out_of_range": dict(self.out_of_range)}

    def for_metadata(self) -> dict[str, Any]:
        """Give the precision policy as a file records it."""
        weights = [f"{name} (up to {magnitude:.3g})" for name, magnitude in self.out_of_range]
        return {"weights": self.weights, "kept_float32": [*self.kept_float32, *self.asked_for, *weights]}


def convert_precision(
    model: ir.Model, precision: str, source: str, keep_float32: Sequence[str] = ()
) -> PrecisionReport:
    """Convert ``model`` in place; inputs and outputs keep their types, and all names stay.

    Args:
        model: A float32 model of any form, one that ONNX's checker takes.
        precision: ``fp16`` or ``bf16``.
        source: What to call the model in errors.
        keep_float32: Shell patterns of layers, tensors, weights or nodes that stay float32 as well.

    Raises:
        NatdeployError: If the model is in a half type already, has control flow, or a pattern fits nothing.
    """
    dtype = HALVES.get(precision)
    if dtype is None:
        raise NatdeployError(f"there is no precision '{precision}'", needed=", ".join(HALVES))
    metadata = metadata_if_any(model.metadata_props, source)
    probes = metadata.probes if metadata is not None else ()
    _infer_types(model, source)
    _check_convertible(model, dtype, source)
    kept = nodes_of_policy(model, probes)
    reasons = {*kept.values(), *((ATTENTION, SOFTMAX) if any(map(is_attention, model.graph)) else ())}
    named = nodes_named(model, keep_float32, probes)
    kept.update(named)
    layers = layers_of(model, probes)
    half, too_large = _half_nodes(model, kept, dtype)
    kept.update({node: layers[node] for node in nodes_of_weights(model, too_large)})
    half, _ = _half_nodes(model, kept, dtype)
    typed = TypedGraph(model.graph, half, dtype)
    typed.rewrite()
    if dtype == ir.DataType.BFLOAT16:
        _raise_opset(model)
    report = PrecisionReport(
        weights=dtype.numpy().name,
        half_nodes=len(half),
        casts=typed.casts,
        kept_float32=tuple(sorted(reasons)),
        asked_for=tuple(dict.fromkeys(named.values())),
        out_of_range=tuple((value.name or "", magnitude) for value, magnitude in too_large.items()),
        rounding=typed.rounding,
    )
    if metadata is not None:
        model.metadata_props[KEY] = replace(metadata, precision=report.for_metadata()).to_json()
    return report


def _check_convertible(model: ir.Model, dtype: ir.DataType, source: str) -> None:
    problems = []
    outputs = (output for node in model.graph for output in node.outputs)
    types = {value.dtype for value in (*model.graph.inputs, *model.graph.initializers.values(), *outputs)}
    if halves := sorted(half.numpy().name for half in types & set(HALVES.values()) if half is not None):
        problems.append(f"it has {' and '.join(halves)} tensors already")
    if flow := sorted({node.op_type for node in model.graph if any(_subgraphs(node))}):
        problems.append(f"it has control flow ({', '.join(flow)})")
    ops = {node.op_type for node in model.graph}
    if dtype == ir.DataType.BFLOAT16 and (changed := sorted(ops & _CHANGED_SINCE_20)):
        problems.append(f"{', '.join(changed)} means something else in opset {_OPSET_OF_BFLOAT16}")
    opset, oldest = model.graph.opset_imports.get("", 1), _OLDEST_OPSETS[dtype]
    if opset < oldest:
        problems.append(f"it is of opset {opset}, and {dtype.numpy().name} needs {oldest} or newer")
    if problems:
        raise NatdeployError(
            f"cannot convert the precision of '{source}'",
            got="; ".join(problems),
            needed="a float32 model without control flow",
        )


def _subgraphs(node: ir.Node) -> Iterator[ir.Attr]:
    return (a for a in node.attributes.values() if a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))


def _infer_types(model: ir.Model, source: str) -> None:
    """Fill in the types that the file does not tell.

    Raises:
        NatdeployError: If some stay unknown: nodes of other domains without a type.
    """
    if _untyped(model):
        for node in model.graph:
            if is_attention(node) and node.outputs[0].dtype is None:
                node.outputs[0].dtype = ir.DataType.FLOAT
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)
    if names := _untyped(model):
        raise NatdeployError(
            f"cannot tell the types of {len(names)} tensors in '{source}'",
            got=", ".join(names[:5]),
            needed="a file whose custom operators say the types of their outputs (value_info)",
        )


def _untyped(model: ir.Model) -> list[str]:
    return [output.name or "" for node in model.graph for output in node.outputs if output.name and not output.dtype]


def _half_nodes(
    model: ir.Model, kept: dict[ir.Node, str], dtype: ir.DataType
) -> tuple[set[ir.Node], dict[ir.Value, float]]:
    """Give the nodes that work in ``dtype``, and the constants of theirs that it cannot hold."""
    computed = computed_values(model.graph)
    half: set[ir.Node] = set()
    values: set[ir.Value] = set()
    for node in model.graph:
        if node not in kept and _is_half(node, values, computed):
            half.add(node)
            values.update(output for output in node.outputs if output.dtype == ir.DataType.FLOAT)
    inputs = (node.inputs[i] for node in model.graph if node in half for i in typed_inputs(node))
    constants = (value for value in inputs if value is not None and value.dtype == ir.DataType.FLOAT)
    return half, overflowing(dict.fromkeys(value for value in constants if value not in computed), dtype)


def _is_half(node: ir.Node, halves: set[ir.Value], computed: set[ir.Value]) -> bool:
    floats = [value for value in node.inputs if value in computed and value.dtype == ir.DataType.FLOAT]
    if node.op_type == "CastLike":
        return node.inputs[1] in halves
    if not floats or not any(output.dtype == ir.DataType.FLOAT for output in node.outputs):
        return False
    if node.op_type in MOVES and node.domain == "":
        return all(value in halves for value in floats)
    return is_attention(node) or (node.domain == "" and node.op_type in CALCULATES)


def _raise_opset(model: ir.Model) -> None:
    for imports in (model.graph.opset_imports, *(f.opset_imports for f in model.functions.values())):
        imports[""] = max(imports.get("", 0), _OPSET_OF_BFLOAT16)
