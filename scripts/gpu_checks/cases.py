"""Which uses of the operator the numbers are checked on: the shared table, and what reaches each kernel's corners."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gpu_checks.library import Attention, OpLibrary

TESTS = Path(__file__).resolve().parents[2] / "tests"
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

from ops.cases import Case, select  # noqa: E402
from plugins.tensor_core_cases import HEAD_DIM_32, HEAD_DIM_64  # noqa: E402

DTYPES = ("float32", "float16", "bfloat16")

# Maps that the models have, not quite square, so that a swapped axis shows.
MODEL_MAPS = tuple(
    Case(extents, (7, 7), dilation, has_rpb=True, batch=batch, heads=heads, head_dim=32)
    for extents, dilation, heads, batch in (
        ((56, 57), (), 2, 3),
        ((57, 56), (8, 8), 2, 3),
        ((28, 30), (), 4, 5),
        ((29, 28), (4, 4), 4, 5),
        ((14, 15), (), 8, 9),
        ((15, 14), (2, 2), 8, 9),
        ((7, 8), (), 16, 17),
        ((8, 7), (), 16, 17),
        ((7, 7), (), 16, 33),
        ((14, 14), (2, 2), 8, 17),
    )
)
LARGE_HEADS = tuple(Case((9, 10), (3, 5), has_rpb=True, head_dim=dim) for dim in (8, 48, 96, 128, 160, 256))


@dataclass(frozen=True)
class Use:
    """One case in one dtype by one tactic."""

    case: Case
    dtype: str
    tactic_name: str
    tactic: int

    def __str__(self) -> str:
        """Print every variable."""
        return f"{self.tactic_name} {self.dtype} {self.case}"

    @property
    def attention(self) -> Attention:
        """What is computed, for the library."""
        return attention_of(self.case, self.dtype)


def attention_of(case: Case, dtype: str) -> Attention:
    """Translate a case."""
    height, width = case.extents
    shape = (case.batch, height, width, case.heads, case.head_dim)
    return Attention(getattr(torch, dtype), *shape, case.neighborhood, case.has_rpb)


def all_cases() -> tuple[Case, ...]:
    """Give every case of rank 2 that kernels compute."""
    shared = tuple(replace(case, heads_first=False) for case in select(rank=2, strided=False, causal=False))
    return (*shared, *HEAD_DIM_32, *HEAD_DIM_64, *MODEL_MAPS, *LARGE_HEADS)


def uses_of(op: OpLibrary, compute_capability: int, cases: tuple[Case, ...] | None = None) -> Iterator[Use]:
    """Give every (case, dtype, tactic) that the library can compute; dtypes of one case stand together."""
    for case in all_cases() if cases is None else cases:
        for dtype in DTYPES:
            for name, tactic in op.tactics().items():
                use = Use(case, dtype, name, tactic)
                if op.reason_against(tactic, use.attention, compute_capability) is None:
                    yield use
