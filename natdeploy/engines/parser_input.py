"""The ONNX file as a TensorRT parser is to see it: checked, in the precision asked for, without functions if need be.

Strongly typed networks (TensorRT 11 has no others) compute in the types of the file, so precision is made here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from natdeploy.engines.profiles import Dims
from natdeploy.onnx_files.attention_nodes import checked_model_and_attention
from natdeploy.onnx_files.files import LARGEST_SINGLE_FILE, size_of_weights, write_onnx
from natdeploy.onnx_files.metadata import Metadata, metadata_if_any
from natdeploy.ops.spec import DOMAIN
from natdeploy.precision.check import NumbersCheck
from natdeploy.precision.convert import PrecisionReport
from natdeploy.precision.files import checked_conversion


@dataclass(frozen=True)
class ParserInput:
    """What the parser gets, and what is known of it.

    Args:
        path: The file to parse: the user's own, or a changed copy.
        source_sha256: Hash of the user's file (of the .onnx alone where its weights lie in another).
        parsed_sha256: Hash of the file to parse.
        attention: Op type of every attention node, by the node's name or, without one, its output's.
        inputs: Shapes of the inputs, by name.
        metadata: What the file says of itself, precision included; None where natdeploy did not write it.
        precision: What a conversion to a half type did, and what a run of it showed; None where there was none.
    """

    path: Path
    source_sha256: str
    parsed_sha256: str
    attention: dict[str, str]
    inputs: dict[str, Dims]
    metadata: Metadata | None
    precision: tuple[PrecisionReport, NumbersCheck] | None = None


def parser_input(source: Path, directory: Path, strip_functions: bool, precision: str = "fp32") -> ParserInput:
    """Prepare a file for the parser.

    Args:
        source: The ONNX file: any form, also one that natdeploy did not write.
        directory: Where a changed copy may lie.
        strip_functions: Take the op's function out, for parsers that would prefer it to the plugin.
        precision: ``fp32`` for the file as it is, or ``fp16`` or ``bf16``.

    Raises:
        NatdeployError: If the file cannot be read or converted, breaks ONNX's rules or the op's contract.
    """
    model, nodes = checked_model_and_attention(source)
    conversion = checked_conversion(model, precision, source.name) if precision != "fp32" else None
    metadata = metadata_if_any(model.metadata_props, source.name)
    path = source
    ours = [identifier for identifier in model.functions if identifier[0] == DOMAIN]
    if strip_functions:
        for identifier in ours:
            del model.functions[identifier]
    if conversion is not None or (strip_functions and ours):
        path = directory / "parsed.onnx"
        write_onnx(model, path, external_data=size_of_weights(model) > LARGEST_SINGLE_FILE)
    return ParserInput(
        path=path,
        source_sha256=sha256_of(source),
        parsed_sha256=sha256_of(path),
        attention={n.node.name or n.node.outputs[0].name or "": n.node.op_type for n in nodes},
        inputs={value.name or "": _dims(value) for value in model.graph.inputs},
        metadata=metadata,
        precision=conversion,
    )


def sha256_of(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _dims(value: ir.Value) -> tuple[int | str, ...]:
    return tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape or ())
