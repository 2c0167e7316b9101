"""What cannot run, said in one place: feeds error messages, ``doctor``, docs/support.md and the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from natdeploy.ops.spec import TENSOR_DTYPES, Neighborhood

FORMS = ("hybrid", "plugin", "portable")


@dataclass(frozen=True)
class Use:
    """One use of the op: what it computes, and where it is to run.

    Args:
        form: ``hybrid``, ``plugin`` or ``portable``.
        backend: ``onnxruntime``, ``onnx-reference`` or ``torch``.
        neighborhood: The op's parameters.
        has_rpb: Whether it has a relative positional bias.
        dtype: Of the data tensors.
    """

    form: str
    backend: str
    neighborhood: Neighborhood
    has_rpb: bool = True
    dtype: str = "float32"


@dataclass(frozen=True)
class Rule:
    """One row of the table: when it applies, what it says."""

    applies: Callable[[Use], bool]
    reason: str


RULES: tuple[Rule, ...] = (
    Rule(
        lambda use: use.backend != "torch" and use.form != "plugin" and any(s != 1 for s in use.neighborhood.stride),
        "the ONNX function and the portable form do not compute strided windows (stride > 1) yet",
    ),
    Rule(
        lambda use: use.backend != "torch" and use.form != "plugin" and any(use.neighborhood.is_causal),
        "the ONNX function and the portable form do not compute causal windows yet",
    ),
    Rule(
        lambda use: use.form == "plugin" and use.backend in ("onnxruntime", "onnx-reference"),
        "the plugin form holds the op without its function: it needs a runtime with a kernel for it (TensorRT with "
        "the natdeploy plugin); `natdeploy lower --form hybrid` adds the function",
    ),
    Rule(
        lambda use: use.backend == "onnxruntime" and use.dtype == "bfloat16",
        "ONNX Runtime's CPU has next to no bfloat16 kernels; check such files with onnx's reference evaluator",
    ),
    Rule(lambda use: use.dtype not in TENSOR_DTYPES, f"the op takes {', '.join(TENSOR_DTYPES)} only"),
)


def unsupported_reasons(use: Use) -> list[str]:
    """Say why this use cannot run; an empty list means that it can."""
    return [rule.reason for rule in RULES if rule.applies(use)] + use.neighborhood.problems(has_rpb=use.has_rpb)
