"""The faults that scripts/mutate.py plants, by area."""

from __future__ import annotations

from faults import (
    checkpoints,
    engines,
    models,
    onnx_files,
    operator_in_onnx,
    operator_in_python,
    precision,
    verification,
)
from faults.fault import Fault as Fault
from faults.fault import Selection as Selection

_AREAS = (operator_in_python, operator_in_onnx, models, onnx_files, checkpoints, verification, precision, engines)

FAULTS: tuple[Fault, ...] = tuple(fault for area in _AREAS for fault in area.FAULTS)
