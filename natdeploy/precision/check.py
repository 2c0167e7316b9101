"""The converted model against the float32 one on noise, before anything is written: overflow, and the error.

float16 ends at 65504. What a float32 run finds beyond that is told by layer and refused; nothing else would say so
but NaN at the end. The converted model itself then runs in ONNX Runtime, or, since that has next to no bfloat16
kernels, in onnx's reference evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from natdeploy.environment import is_installed
from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.onnx_files.attention_nodes import attention_nodes
from natdeploy.onnx_files.forms import convert_form
from natdeploy.onnx_files.metadata import metadata_if_any
from natdeploy.ops.onnx_nodes import NodeBuilder
from natdeploy.precision.policy import layers_of
from natdeploy.precision.weights import largest
from natdeploy.runners.protocol import Array
from natdeploy.verification.comparison import compare
from natdeploy.verification.tolerances import tolerance_for

_LARGEST_MESSAGE = 2**31 - 2**24  # protobuf's limit for a model in memory
_PIXELS_FOR_EVALUATOR = 512 * 512  # nat_mini at 224x224 takes onnx's reference evaluator 2 s on one core
_SHOWN = 5


@dataclass(frozen=True)
class NumbersCheck:
    """What a run of the converted model showed.

    Args:
        runtime: What ran it; None where it did not run.
        skipped: Why it did not run, or not all of it; None where it did.
        output: The output that is furthest from float32.
        error: How far, as a share of its standard deviation.
        tolerance: What ``natdeploy verify`` allows in this precision.
        largest: Largest magnitude of what is stored in the half type.
        limit: Largest number of the type.
    """

    runtime: str | None = None
    skipped: str | None = None
    output: str | None = None
    error: float | None = None
    tolerance: float | None = None
    largest: float | None = None
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON types."""
        return asdict(self)


def check_numbers(before: ir.Model, after: ir.Model, dtype: ir.DataType, source: str) -> NumbersCheck:
    """Compare a converted model with the float32 one on one noise image.

    Args:
        before: The float32 model.
        after: The same, converted.
        dtype: The half type.
        source: What to call the model in errors.

    Raises:
        NatdeployError: If values of ``before`` do not fit the half type, naming their layers, or are no numbers.
    """
    inputs = _noise(before)
    if inputs is None:
        return NumbersCheck(skipped="the input's shape is not known")
    if not is_installed("onnxruntime"):
        return NumbersCheck(skipped="ONNX Runtime is not installed: pip install 'natdeploy[cpu]'")
    try:
        names = _half_tensors(before, after, dtype)
        wanted, magnitudes = _run_with_magnitudes(before, names, inputs, source)
        _refuse_overflow(before, magnitudes, dtype, source)
        biggest, limit = max(magnitudes.values(), default=0.0), largest(dtype)
        if dtype == ir.DataType.BFLOAT16 and _pixels(inputs) > _PIXELS_FOR_EVALUATOR:
            skipped = "the images are too large for onnx's reference evaluator"
            return NumbersCheck(skipped=skipped, largest=biggest, limit=limit)
        proto = _message(_runnable(after, source))
    except _TooLargeError:
        return NumbersCheck(skipped="the model is beyond 2 GiB")
    if dtype == ir.DataType.BFLOAT16:
        runtime, found = _run_in_evaluator(proto, inputs)
    else:
        runtime, found = _run_in_onnxruntime(proto, inputs)
    tolerance = tolerance_for(dtype.numpy().name)
    comparisons = [compare(name, array, found.get(name), tolerance) for name, array in wanted.items()]
    worst = max(comparisons, key=lambda comparison: comparison.error)
    if worst.failure is not None and worst.verdict != "numbers":
        raise NatdeployError(f"'{source}' in {dtype.numpy().name} gives no usable '{worst.name}'", got=worst.failure)
    return NumbersCheck(runtime, None, worst.name, worst.error, tolerance, biggest, limit)


class _TooLargeError(Exception):
    """A model that does not fit into one message."""


def _noise(model: ir.Model) -> dict[str, Array] | None:
    """Give one image of noise, of the smallest size allowed; None for models of unknown shape."""
    generator = np.random.default_rng(0)
    if (metadata := metadata_if_any(model.metadata_props, "the model")) is not None:
        limits, channels = metadata.size_limits, metadata.config.num_channels
        noise = INPUT_FORMATS[metadata.preprocessing.input_format].noise
        return {"pixel_values": noise(generator, limits.batch or 1, channels, limits.minimum)}
    values = [value for value in model.graph.inputs if not value.is_initializer()]
    if len(values) != 1 or values[0].shape is None or values[0].dtype != ir.DataType.FLOAT or not values[0].name:
        return None
    name, dims = values[0].name, list(values[0].shape)
    shape: tuple[Any, ...] = tuple(dim if isinstance(dim, int) else None if i else 1 for i, dim in enumerate(dims))
    return None if None in shape else {name: generator.standard_normal(shape).astype(np.float32)}


def _pixels(inputs: Mapping[str, Array]) -> int:
    def channels(array: Array) -> int:
        return array.shape[-1 if array.dtype == np.uint8 else 1] if array.ndim > 1 else 1

    return max(array.size // channels(array) for array in inputs.values())


def _half_tensors(before: ir.Model, after: ir.Model, dtype: ir.DataType) -> list[str]:
    """Name the tensors of the float32 model whose numbers the converted one stores in the half type, in order."""
    present = {output.name for node in before.graph for output in node.outputs}
    names = {name: None for node in after.graph for name in _stored_half(node, dtype)}
    return [name for name in names if name in present]


def _stored_half(node: ir.Node, dtype: ir.DataType) -> Iterator[str]:
    for value in (*node.inputs, *node.outputs) if node.op_type == "Cast" else node.outputs:
        # A Cast of ours gives its input, or takes over the name of an output: either is a name of the original.
        if value is not None and value.name and any(v is not None and v.dtype == dtype for v in _both(node, value)):
            yield value.name


def _both(node: ir.Node, value: ir.Value) -> tuple[ir.Value | None, ...]:
    return (node.inputs[0], node.outputs[0]) if node.op_type == "Cast" else (value,)


def _run_with_magnitudes(
    model: ir.Model, names: list[str], inputs: Mapping[str, Array], source: str
) -> tuple[dict[str, Array], dict[str, float]]:
    """Run the float32 model; give its outputs, and the largest magnitude of each named tensor."""
    runnable = _runnable(model, source)
    outputs = [output.name for output in runnable.graph.outputs]
    values = {output.name: output for node in runnable.graph for output in node.outputs}
    op = NodeBuilder()
    for i, name in enumerate(names):
        magnitude = op.ReduceMax(op.Abs(values[name]), keepdims=0)
        magnitude.name, magnitude.dtype, magnitude.shape = f"natdeploy.magnitude.{i}", ir.DataType.FLOAT, ir.Shape([])
        runnable.graph.outputs.append(magnitude)
    runnable.graph.extend(op.nodes)
    _, found = _run_in_onnxruntime(_message(runnable), inputs)
    magnitudes = {name: float(found[f"natdeploy.magnitude.{i}"]) for i, name in enumerate(names)}
    return {name: found[name] for name in outputs if name is not None}, magnitudes


def _refuse_overflow(model: ir.Model, magnitudes: Mapping[str, float], dtype: ir.DataType, source: str) -> None:
    limit, name = largest(dtype), dtype.numpy().name
    if not (beyond := {tensor: m for tensor, m in magnitudes.items() if not m <= limit}):
        return
    probes = metadata.probes if (metadata := metadata_if_any(model.metadata_props, source)) else ()
    by_layer: dict[str, float] = {}
    for node, layer in layers_of(model, probes).items():
        found = [beyond[output.name] for output in node.outputs if output.name in beyond]
        if found:
            by_layer[layer] = float(np.max([*found, by_layer.get(layer, 0.0)]))
    shown = ", ".join(f"{layer} up to {magnitude:.3g}" for layer, magnitude in list(by_layer.items())[:_SHOWN])
    more = f", and {len(by_layer) - _SHOWN} layers more" if len(by_layer) > _SHOWN else ""
    if not np.isfinite(list(by_layer.values())).all():
        raise NatdeployError(
            f"'{source}' gives infinity or NaN on noise in float32 already", got=f"in {shown}{more}", needed="numbers"
        )
    raise NatdeployError(
        f"'{source}' has values that {name} cannot hold, seen on noise in float32",
        got=f"{shown}{more}",
        needed=f"at most {limit:.6g}",
        next_step=f"Use --precision bf16, which has float32's range, or keep layers in float32: --keep-fp32 "
        f"'{next(iter(by_layer))}'",
    )


def _runnable(model: ir.Model, source: str) -> ir.Model:
    """Give a copy that runtimes without our kernels can run: a plugin file with its function."""
    copy = model.clone()
    if attention_nodes(copy, source) and not copy.functions:
        convert_form(copy, "hybrid", source)
    return copy


def _message(model: ir.Model) -> bytes:
    weights = (value.const_value for value in model.graph.initializers.values())
    if sum(weight.nbytes for weight in weights if weight is not None) > _LARGEST_MESSAGE:
        raise _TooLargeError
    message: bytes = ir.to_proto(model).SerializeToString()
    return message


def _run_in_onnxruntime(model: bytes, inputs: Mapping[str, Array]) -> tuple[str, dict[str, Array]]:
    import onnxruntime as package

    onnxruntime: Any = package  # it declares nothing of what it exports
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return f"ONNX Runtime {onnxruntime.__version__}", dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _run_in_evaluator(model: bytes, inputs: Mapping[str, Array]) -> tuple[str, dict[str, Array]]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_model_from_string(model))
    arrays = evaluator.run(None, dict(inputs))
    return f"onnx's reference evaluator {onnx.__version__}", dict(zip(evaluator.output_names, arrays, strict=True))
