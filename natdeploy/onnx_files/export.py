"""``onnx_from_checkpoint``: the whole way from weights to a checked ONNX file."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from natdeploy import __version__
from natdeploy.checkpoints import Checkpoint
from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.models import model_from_weights
from natdeploy.models.outputs import checked_outputs
from natdeploy.onnx_files.files import check_target, write_onnx
from natdeploy.onnx_files.forms import convert_form
from natdeploy.onnx_files.metadata import KEY, Metadata
from natdeploy.onnx_files.normalisation import PixelNormalisation
from natdeploy.onnx_files.probes import name_probes
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.onnx_files.shape_ops import write_shape_ops
from natdeploy.onnx_files.tracing import graph_from_model
from natdeploy.ops.onnx_nodes import IR_VERSION
from natdeploy.ops.spec import OPERATORS
from natdeploy.precision.check import NumbersCheck
from natdeploy.precision.convert import PrecisionReport
from natdeploy.precision.files import checked_conversion
from natdeploy.preprocessing import Preprocessing
from natdeploy.size_limits import SizeLimits


@dataclass(frozen=True)
class ExportSummary:
    """What an export wrote.

    Args:
        path: The file.
        size_bytes: Of the file, and of the external data beside it.
        attention_layers: How many attention layers the model has.
        metadata: The document inside the file.
        report: What became of the weights in a half precision; None in float32.
        check: What a run in a half precision showed; None in float32.
    """

    path: Path
    size_bytes: int
    attention_layers: int
    metadata: Metadata
    report: PrecisionReport | None = None
    check: NumbersCheck | None = None


def onnx_from_checkpoint(
    checkpoint: Checkpoint, path: str | Path, settings: ExportSettings | None = None
) -> ExportSummary:
    """Export a checkpoint to an ONNX file.

    Args:
        checkpoint: From :func:`natdeploy.weights_from_checkpoint`.
        path: Target; replaced if it exists, and untouched if anything fails.
        settings: Form, sizes, outputs; the defaults where None.

    Returns:
        What was written.

    Raises:
        NatdeployError: If the settings or the checkpoint's tensors do not fit, or the target cannot be written.
    """
    settings, path = settings or ExportSettings(), Path(path)
    check_target(path, ".onnx")
    model, metadata = _onnx_model(checkpoint, settings)
    report = check = None
    if settings.precision != "fp32":
        report, check = checked_conversion(model, settings.precision, path.name, settings.keep_fp32)
        metadata = replace(metadata, precision=report.for_metadata())
    layers = sum(len(stage) for stage in checkpoint.config.dilations)
    size = write_onnx(model, path, settings.external_data)
    return ExportSummary(path, size, layers, metadata, report, check)


def _onnx_model(checkpoint: Checkpoint, settings: ExportSettings) -> tuple[ir.Model, Metadata]:
    config = checkpoint.config
    limits = settings.size_limits(config)
    outputs = checked_outputs(config, settings.outputs)
    _check_depth(outputs)
    recipe = settings.recipe(checkpoint.preprocessing, limits)
    model = _traced(checkpoint, outputs, limits, recipe)
    _use_readable_names(model)
    probes = name_probes(model)
    write_shape_ops(model)
    _forget_the_exporting_machine(model)
    convert_form(model, settings.form, "the exported model")
    metadata = Metadata(
        form=settings.form,
        config=config,
        labels=checkpoint.labels,
        preprocessing=recipe,
        size_limits=limits,
        outputs=outputs,
        probes=probes,
        variant=checkpoint.variant,
        checkpoint_source=checkpoint.source,
        checkpoint_sha256=checkpoint.sha256,
    )
    _describe(model, metadata)
    return model, metadata


def _traced(checkpoint: Checkpoint, outputs: Sequence[str], limits: SizeLimits, recipe: Preprocessing) -> ir.Model:
    """Trace the model, behind the normalisation of pixels where the recipe's input format asks for it."""
    config = checkpoint.config
    module = model_from_weights(config, checkpoint.tensors)
    module.assume_smallest_image(*limits.minimum)
    height, width = limits.minimum if limits.is_fixed else ("height", "width")
    batch: int | str = limits.batch or "batch"
    shape = INPUT_FORMATS[recipe.input_format].shape(batch, config.num_channels, height, width)
    normalisation = PixelNormalisation(recipe) if recipe.input_format == "uint8-nhwc" else None
    return graph_from_model(module, outputs, shape, normalisation)


def _check_depth(outputs: Sequence[str]) -> None:
    """Refuse a file without attention: no form has a meaning for it."""
    if all(output.endswith((".stem", "hidden_states.0")) for output in outputs):
        raise NatdeployError(
            f"cannot export {', '.join(outputs)} alone: the stem comes before the first attention layer",
            needed="at least one output of a stage",
            next_step="Name one more in --outputs; `natdeploy inspect CHECKPOINT` lists them",
        )


def _describe(model: ir.Model, metadata: Metadata) -> None:
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "natdeploy", __version__
    model.graph.name = metadata.variant or metadata.config.family
    model.metadata_props.clear()
    model.metadata_props[KEY] = metadata.to_json()


def _forget_the_exporting_machine(model: ir.Model) -> None:
    """Drop what torch's exporter notes on every node: source paths, stack traces, module classes."""
    model.doc_string = model.graph.doc_string = None
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
        value.doc_string = None


def _use_readable_names(model: ir.Model) -> None:
    """Name weights and nodes as the torch module does; torch's exporter calls folded weights ``val_3``."""
    graph = model.graph
    for node in graph:
        scope = _module_of(node)
        if scope and node.op_type in OPERATORS:
            node.name = scope
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if scope and node.op_type == "MatMul" and weight is not None and weight.is_initializer():
            _rename_initializer(graph, weight, f"{scope}.weight_transposed")
    for value in list(graph.initializers.values()):
        if value.name and value.name.startswith("model."):
            _rename_initializer(graph, value, value.name.removeprefix("model."))


def _rename_initializer(graph: ir.Graph, value: ir.Value, name: str) -> None:
    if name not in graph.initializers and value.name is not None:
        del graph.initializers[value.name]
        value.name = name
        if value.const_value is not None:
            value.const_value.name = name
        graph.register_initializer(value)


def _module_of(node: ir.Node) -> str:
    """Path of the torch module that a node came from (``stages.0.blocks.1.attention.qkv``), by torch's notes."""
    try:
        scopes: Sequence[str] = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
    except (SyntaxError, ValueError):
        return ""
    modules = [scope for scope in scopes[:-1] if scope.startswith("model.")]
    return modules[-1].removeprefix("model.") if modules else ""
