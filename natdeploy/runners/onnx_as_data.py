"""An ONNX file, read as data before a runtime opens it, whose native code would trust it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.attention_nodes import attention_nodes
from natdeploy.onnx_files.files import read_onnx
from natdeploy.onnx_files.metadata import Metadata, metadata_if_any


@dataclass(frozen=True)
class CheckedFile:
    """A file that a runtime without our kernels can be given.

    Args:
        path: The file.
        metadata: What it says of itself; None where it is not one of ours.
        holds_bfloat16: Whether it has weights in bfloat16.
    """

    path: Path
    metadata: Metadata | None
    holds_bfloat16: bool


def checked_file(path: str | Path) -> CheckedFile:
    """Read a file; the values of weights in external data are not.

    Raises:
        NatdeployError: If it is no ONNX file, its metadata are damaged, or it misuses our op or has it without the
            function that computes it.
    """
    path = Path(path)
    model = read_onnx(path, external_data=False)
    nodes = [attention.node for attention in attention_nodes(model, path.name)]
    without = {node.op_type for node in nodes if (node.domain, node.op_type, node.overload) not in model.functions}
    if without:
        raise NatdeployError(
            f"'{path.name}' is of the plugin form: it has {', '.join(sorted(without))} nodes without the function that "
            f"computes them",
            needed="a file of the hybrid or portable form for ONNX Runtime",
            next_step=f"Make one with `natdeploy lower {shlex.quote(str(path))} -o portable.onnx --form portable`",
        )
    return CheckedFile(
        path=path,
        metadata=metadata_if_any(model.metadata_props, path.name),
        holds_bfloat16=any(weight.dtype == ir.DataType.BFLOAT16 for weight in model.graph.initializers.values()),
    )
