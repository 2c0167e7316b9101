"""The runner protocol: named arrays in, named arrays out, whatever stands behind it.

Whoever adds a backend adds one file here and one line to the registry in ``__init__.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.metadata import Metadata
from natdeploy.size_limits import SizeLimits as SizeLimits

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: a dimension is an int where it is fixed, a name where it is free."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Runner(Protocol):
    """Something that computes a model's outputs.

    Attributes:
        name: What it is, for reports (``torch float64``, ``onnxruntime 1.32.0 CPU``).
        inputs: What it takes.
        outputs: What it gives, in order.
        probes: Names of the inner tensors that it can give as well.
        size_limits: Image sizes that it accepts; None where it does not say.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    probes: tuple[str, ...]
    size_limits: SizeLimits | None

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Compute all outputs, and the inner tensors asked for, by name.

        Raises:
            NatdeployError: If the inputs do not fit, or a probe is unknown.
        """
        ...

    def environment(self) -> dict[str, str]:
        """Versions and device, for reports."""
        ...


class ArtifactRunner(Runner, Protocol):
    """A runner of a file.

    Attributes:
        metadata: What the file says of itself; None where natdeploy did not write it.
    """

    metadata: Metadata | None

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Refuse inputs that ``run`` would not take; runs nothing.

        Raises:
            NatdeployError: Naming all that does not fit.
        """
        ...


def check_inputs(runner: Runner, inputs: Mapping[str, Array], dtypes: Sequence[str] = ()) -> None:
    """Compare names, dtypes and fixed dimensions with what the runner takes; all problems at once.

    Args:
        runner: Whose inputs.
        inputs: What it is to be given.
        dtypes: Dtypes that do for each input, beside its own.

    Raises:
        NatdeployError: If anything does not fit.
    """
    problems = [f"no input named '{name}'" for name in inputs.keys() - {spec.name for spec in runner.inputs}]
    for spec in runner.inputs:
        if spec.name not in inputs:
            problems.append(f"input '{spec.name}' is missing")
            continue
        array = inputs[spec.name]
        wrong_size = len(array.shape) != len(spec.shape) or any(
            isinstance(wanted, int) and wanted != got for wanted, got in zip(spec.shape, array.shape, strict=False)
        )
        if wrong_size:
            shape = "x".join(map(str, spec.shape))
            problems.append(f"'{spec.name}' is {'x'.join(map(str, array.shape))}, the model takes {shape}")
        if array.dtype not in [np.dtype(name) for name in (spec.dtype, *dtypes)]:
            meaning = " (pixels as they are, 0 to 255)" if spec.dtype == "uint8" else ""
            problems.append(f"'{spec.name}' is {array.dtype}, the model takes {spec.dtype}{meaning}")
    if problems:
        raise NatdeployError(f"the inputs do not fit {runner.name}", got="; ".join(problems))


def check_inputs_and_sizes(runner: Runner, inputs: Mapping[str, Array], file: str) -> None:
    """Do what :func:`check_inputs` does, and compare batch and image size with what a file accepts.

    Raises:
        NatdeployError: If anything does not fit; ``file`` names it.
    """
    check_inputs(runner, inputs)
    if runner.size_limits is not None:
        runner.size_limits.check(inputs["pixel_values"].shape, f"'{file}'")


def check_probes(runner: Runner, probes: Sequence[str]) -> None:
    """Refuse unknown probe names, all at once.

    Raises:
        NatdeployError: If a name is not in ``runner.probes``.
    """
    if unknown := [name for name in probes if name not in runner.probes]:
        raise NatdeployError(
            f"{runner.name} has no inner tensors named {', '.join(unknown)}",
            next_step="`natdeploy inspect FILE --probes` lists those of a file",
        )
