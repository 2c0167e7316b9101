"""Runs our ONNX files in a stock ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from natdeploy.errors import MissingDependencyError, NatdeployError
from natdeploy.runners.onnx_as_data import CheckedFile, checked_file
from natdeploy.runners.protocol import Array, TensorSpec, check_inputs_and_sizes, check_probes

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
}


class OnnxRuntimeRunner:
    """Runs an ONNX file on the CPU (see :class:`natdeploy.runners.protocol.Runner`).

    Args:
        file: The file, or what was found in it.
        threads: Threads of ONNX Runtime; 0 leaves the choice to it.

    Raises:
        NatdeployError: See :func:`checked_file`; if ONNX Runtime refuses the file, or is not installed.
    """

    def __init__(self, file: str | Path | CheckedFile, threads: int = 0) -> None:
        checked = file if isinstance(file, CheckedFile) else checked_file(file)
        self._path, self.metadata, self._threads = checked.path, checked.metadata, threads
        self._session = self._open(str(self._path))
        self._probe_session: tuple[frozenset[str], Any] | None = None
        self.inputs: tuple[TensorSpec, ...] = tuple(_spec(x) for x in self._session.get_inputs())
        self.outputs: tuple[TensorSpec, ...] = tuple(_spec(x) for x in self._session.get_outputs())
        names = {spec.name for spec in self.outputs}
        self.probes: tuple[str, ...] = tuple(p for p in self.metadata.probes if p not in names) if self.metadata else ()
        self.size_limits = self.metadata.size_limits if self.metadata else None
        self.name = f"ONNX Runtime {_onnxruntime().__version__} CPU"

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Compute all outputs and the probes asked for."""
        self.check(inputs)
        check_probes(self, probes)
        session = self._session_with(frozenset(probes)) if probes else self._session
        names = [*(spec.name for spec in self.outputs), *probes]
        try:
            arrays = session.run(names, dict(inputs))
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base
            raise NatdeployError(f"ONNX Runtime could not run '{self._path.name}'", got=_first_line(error)) from error
        return dict(zip(names, arrays, strict=True))

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Compare the inputs with what the file takes, and with the sizes that it accepts."""
        check_inputs_and_sizes(self, inputs, self._path.name)

    def environment(self) -> dict[str, str]:
        """Versions and device."""
        return {
            "onnxruntime": _onnxruntime().__version__,
            "numpy": np.__version__,
            "device": "cpu",
            "threads": str(self._threads or os.cpu_count()),
        }

    def _open(self, model: str | bytes) -> Any:
        ort = _onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 4  # errors come as exceptions; the rest is about ONNX Runtime's own doings
        try:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base
            raise NatdeployError(f"ONNX Runtime refuses '{self._path.name}'", got=_first_line(error)) from error

    def _session_with(self, probes: frozenset[str]) -> Any:
        """Give a session with inner tensors as further outputs; the last one is kept."""
        if self._probe_session is None or self._probe_session[0] != probes:
            from natdeploy.onnx_files.probes import with_probe_outputs

            self._probe_session = (probes, self._open(with_probe_outputs(self._path, sorted(probes))))
        return self._probe_session[1]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "running an ONNX file", "cpu") from error
    return onnxruntime


def _spec(value: Any) -> TensorSpec:
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape)
    return TensorSpec(value.name, _DTYPES.get(value.type, value.type), shape)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:400]
