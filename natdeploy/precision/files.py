"""``converted_from_onnx``: a half precision file from a float32 one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from natdeploy.onnx_files.attention_nodes import checked_model_and_attention
from natdeploy.onnx_files.files import check_target, write_onnx
from natdeploy.precision.check import NumbersCheck, check_numbers
from natdeploy.precision.convert import PrecisionReport, convert_precision
from natdeploy.precision.policy import HALVES


@dataclass(frozen=True)
class ConversionSummary:
    """What a conversion wrote.

    Args:
        path: The file.
        size_bytes: Of the file, and of the external data beside it.
        report: What became of the graph and its weights.
        check: What a run showed.
    """

    path: Path
    size_bytes: int
    report: PrecisionReport
    check: NumbersCheck


def converted_from_onnx(
    source: str | Path,
    path: str | Path,
    precision: str,
    keep_float32: Sequence[str] = (),
    external_data: bool = False,
) -> ConversionSummary:
    """Write a float32 file in a half precision; form, inputs, outputs and all names stay.

    Args:
        source: A file of any form. One that natdeploy did not write is taken too.
        path: Target; replaced if it exists, and untouched if anything fails.
        precision: ``fp16`` or ``bf16``.
        keep_float32: Shell patterns of layers, tensors, weights or nodes that stay float32.
        external_data: Weights into a file of their own.

    Returns:
        What was written.

    Raises:
        NatdeployError: If the file cannot be read or converted, a pattern fits nothing, or values overflow.
    """
    source, path = Path(source), Path(path)
    check_target(path, ".onnx")
    model, _ = checked_model_and_attention(source)
    report, check = checked_conversion(model, precision, source.name, keep_float32)
    return ConversionSummary(path, write_onnx(model, path, external_data), report, check)


def checked_conversion(
    model: ir.Model, precision: str, source: str, keep_float32: Sequence[str] = ()
) -> tuple[PrecisionReport, NumbersCheck]:
    """Convert ``model`` in place and run it; what ``convert``, ``export`` and the engine builder share.

    Raises:
        NatdeployError: See :func:`convert_precision` and :func:`check_numbers`.
    """
    before = model.clone()
    report = convert_precision(model, precision, source, keep_float32)
    return report, check_numbers(before, model, HALVES[precision], source)
