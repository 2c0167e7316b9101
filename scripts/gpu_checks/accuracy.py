"""One use of the operator against float64: how far off, and whether it kept to its memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_checks.cases import Case, Use
from gpu_checks.guarded import Guarded, Placed
from gpu_checks.library import LaunchRefused, OpLibrary
from natdeploy.ops.spec import OP_TOLERANCE
from natdeploy.ops.torch_op import attention_from_windows

TIMES_PYTORCH = 2.0  # half precision: at most so many times the error of PyTorch's own operators
SMALLEST_ERROR = 2**-14  # below this, PyTorch's own error is luck


@dataclass(frozen=True)
class Outcome:
    """What one use gave: the worst error, the worst allowed, and what else is wrong."""

    error: float
    limit: float
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Inputs:
    """Tensors of a use on the host, in its dtype, and what float64 makes of them."""

    query: Tensor
    key: Tensor
    value: Tensor
    rpb: Tensor | None
    expected: Tensor
    pytorch_error: float


def inputs_of(case: Case, dtype: str) -> Inputs:
    """Draw inputs and compute what is expected of them.

    Args:
        case: Shapes, attributes, seed.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
    """
    kind = getattr(torch, dtype)
    query, key, value = (torch.from_numpy(x.copy()).to(kind) for x in case.tensors_in(dtype)[:3])
    table = case.tensors().rpb
    rpb = None if table is None else torch.from_numpy(table)
    wide = attention_from_windows(query.double(), key.double(), value.double(), _double(rpb), case.neighborhood)
    own = attention_from_windows(query, key, value, rpb, case.neighborhood)
    error = (own.double() - wide).abs().max().item() if wide.numel() else 0.0
    return Inputs(query, key, value, rpb, wide, error)


def _double(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.double()


def limit_for(dtype: str, pytorch_error: float) -> float:
    """Give the largest error allowed: the op's tolerance, and in half precision twice PyTorch's own."""
    if dtype == "float32":
        return OP_TOLERANCE[dtype]
    return min(OP_TOLERANCE[dtype], TIMES_PYTORCH * max(pytorch_error, SMALLEST_ERROR))


def checked(op: OpLibrary, use: Use, inputs: Inputs, device: str, layout: str = "packed", runs: int = 1) -> Outcome:
    """Run one use between guard bands and compare.

    Args:
        op: The library.
        use: What is computed, and by which tactic.
        inputs: From inputs_of.
        device: ``cuda``; ``cpu`` for a library whose kernels run there.
        layout: As in guarded.LAYOUTS.
        runs: Repetitions, each of which must give the same bits.
    """
    attention = use.attention
    count = 3 if layout == "packed" else 1
    sources = [Placed(attention.shape, attention.dtype, layout, count) for _ in range(3 // count)]
    values = (inputs.query, inputs.key, inputs.value)
    for i, source in enumerate(sources):
        source.fill(*values[i * count : (i + 1) * count])
    tensors = [tensor for source in sources for tensor in source.upload(device)]
    rpb, table = _table(inputs.rpb, device)
    problems: list[str] = []
    found: list[Tensor] = []
    for _ in range(runs):
        output = Placed(attention.shape, attention.dtype, "split" if layout == "packed" else layout)
        try:
            op.launch(attention, use.tactic, *tensors, table, *output.upload(device))
        except LaunchRefused as error:
            return Outcome(float("nan"), 0.0, (f"refused: {error}",))
        result, wrong = output.result()
        found.append(result)
        problems += wrong
    if not all(memory.is_unchanged() for memory in (*sources, *([rpb] if rpb else []))):
        problems.append("changed its inputs")
    if any(not torch.equal(_bits(found[0]), _bits(other)) for other in found[1:]):
        problems.append(f"{runs} runs gave different results")
    return _outcome(found[0], inputs, limit_for(use.dtype, inputs.pytorch_error), problems)


def _table(rpb: Tensor | None, device: str) -> tuple[Guarded | None, Tensor | None]:
    if rpb is None:
        return None, None
    memory = Guarded(rpb.numel(), torch.float32)
    memory.host.copy_(rpb.flatten())
    return memory, memory.upload(device)


def _bits(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.int32 if x.dtype == torch.float32 else torch.int16)


def _outcome(found: Tensor, inputs: Inputs, limit: float, problems: list[str]) -> Outcome:
    error = (found.double() - inputs.expected).abs().max().item() if found.numel() else 0.0
    if torch.isnan(found).any():
        problems.append(f"{int(torch.isnan(found).sum())} of {found.numel()} outputs are NaN")
    elif not error <= limit:
        problems.append(f"error {error:.2e} exceeds {limit:.2e}")
    return Outcome(error, limit, tuple(dict.fromkeys(problems)))
