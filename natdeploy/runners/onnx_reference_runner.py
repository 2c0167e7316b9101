"""Runs bfloat16 files in onnx's reference evaluator, which has every operator in every type; slow, and on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import read_onnx_proto
from natdeploy.runners.onnx_as_data import CheckedFile, checked_file
from natdeploy.runners.protocol import Array, TensorSpec, check_inputs_and_sizes, check_probes

# Before, the evaluator took bfloat16 for integers of 16 bits.
_FIRST_WITH_BFLOAT16 = (1, 19)


class OnnxReferenceRunner:
    """Runs an ONNX file in Python (see :class:`natdeploy.runners.protocol.Runner`).

    Inner tensors in bfloat16 are given as float32, which holds each of their numbers.

    Args:
        file: The file, or what was found in it.

    Raises:
        NatdeployError: See :func:`checked_file`; if the evaluator refuses the file, or is too old for bfloat16.
    """

    def __init__(self, file: str | Path | CheckedFile) -> None:
        from onnx.reference import ReferenceEvaluator

        checked = file if isinstance(file, CheckedFile) else checked_file(file)
        self._path, self.metadata = checked.path, checked.metadata
        if tuple(map(int, onnx.__version__.split(".")[:2])) < _FIRST_WITH_BFLOAT16:
            raise NatdeployError(
                f"onnx {onnx.__version__} cannot run the bfloat16 of '{self._path.name}'",
                needed="onnx 1.19 or newer",
                next_step="Update it with: pip install --upgrade onnx",
            )
        model = read_onnx_proto(self._path)
        try:
            self._evaluator: Any = ReferenceEvaluator(model)
        except Exception as error:  # the evaluator raises classes of its own that share no base
            raise NatdeployError(f"onnx's evaluator refuses '{self._path.name}'", got=_first_line(error)) from error
        self.inputs: tuple[TensorSpec, ...] = tuple(_spec(value) for value in model.graph.input)
        self.outputs: tuple[TensorSpec, ...] = tuple(_spec(value) for value in model.graph.output)
        names = {spec.name for spec in self.outputs}
        self.probes: tuple[str, ...] = tuple(p for p in self.metadata.probes if p not in names) if self.metadata else ()
        self.size_limits = self.metadata.size_limits if self.metadata else None
        self.name = f"onnx {onnx.__version__} reference evaluator"

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Compute all outputs and the probes asked for."""
        self.check(inputs)
        check_probes(self, probes)
        try:
            found = self._evaluator.run(None, dict(inputs), intermediate=True)
        except Exception as error:  # as above
            raise NatdeployError(
                f"onnx's evaluator could not run '{self._path.name}'", got=_first_line(error)
            ) from error
        return {name: _readable(found[name]) for name in (*(spec.name for spec in self.outputs), *probes)}

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Compare the inputs with what the file takes, and with the sizes that it accepts."""
        check_inputs_and_sizes(self, inputs, self._path.name)

    def environment(self) -> dict[str, str]:
        """Versions and device."""
        return {"onnx": onnx.__version__, "numpy": np.__version__, "device": "cpu", "threads": "1"}


def _readable(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
    return TensorSpec(value.name, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name, shape)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:400]
