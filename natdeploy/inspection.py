"""What is in a file: an ONNX model, an engine or a checkpoint, as plain data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from natdeploy.errors import ContradictionError, NatdeployError


def describe_file(path: str | Path, variant: str | None = None, load: bool = False) -> dict[str, Any]:
    """Describe an ONNX file, a plan or a checkpoint.

    Args:
        path: The file, directory, hub id or ``random:VARIANT``.
        variant: For a bare ``.pth`` file; without it the variants that fit are listed.
        load: Load a plan, and add what TensorRT says of it.

    Returns:
        Plain JSON types; ``kind`` says which of the three it is.

    Raises:
        ContradictionError: If ``load`` is asked of anything but a plan.
        NatdeployError: If it cannot be read.
    """
    if str(path).endswith((".plan", ".engine")):
        from natdeploy.engines.description import describe_plan

        return describe_plan(Path(path), load)
    if load:
        raise ContradictionError(f"cannot inspect '{path}' like that", got="--load is for plans of TensorRT")
    return describe_onnx(Path(path)) if str(path).endswith(".onnx") else describe_checkpoint(str(path), variant)


def probes_of_file(path: str | Path) -> list[str]:
    """List the names of the inner tensors that an ONNX file of ours knows, in graph order.

    Raises:
        NatdeployError: If it cannot be read, or is a checkpoint: its tensors get names when it is exported.
    """
    if not str(path).endswith(".onnx"):
        raise NatdeployError(
            f"'{path}' is no ONNX file, and only these have probes",
            next_step="Export it with `natdeploy export` and inspect the file",
        )
    return list(describe_onnx(Path(path))["probes"])


def describe_onnx(path: Path) -> dict[str, Any]:
    """Describe an ONNX file: form, sizes, attention layers, operators. Weights in external data are not read."""
    from natdeploy.onnx_files.attention_nodes import attention_nodes
    from natdeploy.onnx_files.files import read_onnx
    from natdeploy.onnx_files.metadata import KEY, metadata_if_any

    model = read_onnx(path, external_data=False)
    if KEY not in model.metadata_props and not any(node.domain == "natdeploy" for node in model.graph):
        raise NatdeployError(
            f"'{path.name}' has neither natdeploy metadata nor a neighborhood attention node",
            next_step="Make one with `natdeploy export CHECKPOINT -o model.onnx`",
        )
    metadata = metadata_if_any(model.metadata_props, path.name)
    weights = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
    return {
        "kind": "onnx",
        "file": path.name,
        "file_bytes": path.stat().st_size,
        "form": metadata.form if metadata else None,
        "family": metadata.config.family if metadata else None,
        "variant": metadata.variant if metadata else None,
        "checkpoint": {"source": metadata.checkpoint_source, "sha256": metadata.checkpoint_sha256}
        if metadata
        else None,
        "natdeploy": metadata.natdeploy_version if metadata else None,
        "image_sizes": str(metadata.size_limits) if metadata else None,
        "batch": (metadata.size_limits.batch or "any") if metadata else None,
        "labels": len(metadata.labels) if metadata else 0,
        "preprocessing": metadata.preprocessing.to_json() if metadata else None,
        "precision": dict(metadata.precision) if metadata else None,
        "opsets": {domain or "ai.onnx": version for domain, version in sorted(model.graph.opset_imports.items())},
        "ir_version": model.ir_version,
        "inputs": [_tensor(value) for value in model.graph.inputs],
        "outputs": [_tensor(value) for value in model.graph.outputs],
        "weights_bytes": sum(int(weight.nbytes) for weight in weights),
        "functions": sorted(f"{domain}::{name}" for domain, name, _ in model.functions),
        "attention": [_attention(node) for node in attention_nodes(model, path.name)],
        "operators": dict(Counter(_op_name(node) for node in model.graph).most_common()),
        "probes": list(metadata.probes) if metadata else [],
    }


def describe_checkpoint(path: str, variant: str | None = None) -> dict[str, Any]:
    """Describe a checkpoint: configuration, parameters, the outputs that it can give, the variants that fit."""
    from natdeploy.environment import require

    require("export")
    from natdeploy.checkpoints import weights_from_checkpoint
    from natdeploy.models.outputs import available_outputs

    checkpoint = weights_from_checkpoint(path, variant)
    return {
        "kind": "checkpoint",
        "source": checkpoint.source,
        "family": checkpoint.config.family,
        "variant": checkpoint.variant,
        "variants_with_these_shapes": _fitting(checkpoint),
        "params": sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        "sha256": checkpoint.sha256,
        "config": checkpoint.config.to_json(),
        "labels": list(checkpoint.labels),
        "preprocessing": checkpoint.preprocessing.to_json(),
        "outputs": list(available_outputs(checkpoint.config)),
    }


def _fitting(checkpoint: Any) -> list[str]:
    from natdeploy.checkpoints.original import fitting_variants

    return list(fitting_variants(checkpoint.tensors))


def _tensor(value: Any) -> dict[str, Any]:
    shape = [dim if isinstance(dim, int) else str(dim) for dim in value.shape] if value.shape is not None else None
    return {"name": value.name, "dtype": value.dtype.numpy().name if value.dtype else None, "shape": shape}


def _attention(attention: Any) -> dict[str, Any]:
    output = attention.node.outputs[0]
    return {
        "layer": (output.name or "").removesuffix(".attention"),
        "op_type": attention.node.op_type,
        "map": [extent if extent is not None else "free" for extent in attention.extents],
        "num_heads": attention.num_heads,
        "head_dim": attention.head_dim,
        "kernel_size": list(attention.neighborhood.kernel_size),
        "dilation": list(attention.neighborhood.dilation),
        "rpb": attention.has_rpb,
    }


def _op_name(node: Any) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else str(node.op_type)
