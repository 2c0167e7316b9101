"""The steps in order of value, what they share, and how each is run by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_checks.accuracy import Inputs, Outcome, checked, inputs_of
from gpu_checks.cases import Use, uses_of
from gpu_checks.guarded import LAYOUTS
from gpu_checks.library import OpLibrary
from gpu_checks.result import StepResult
from gpu_checks.timing import Timer

MOST_PROBLEMS = 20  # listed per step; the count of all is in the summary


@dataclass(frozen=True)
class Context:
    """What a step works with.

    Args:
        op: The library.
        device: ``cuda``; ``cpu`` for a library whose kernels run there.
        compute_capability: 90 for 9.0.
        timer: Measures launches.
        say: Told what is about to be done, so that a crash has a name.
        budget: Seconds after which a step begins nothing new.
        plugin: The TensorRT plugin library, where there is one.
        models: Folder of ONNX files and recorded outputs for the engines.
        docs: Where predictions lie.
    """

    op: OpLibrary
    device: str
    compute_capability: int
    timer: Timer
    say: Callable[[str], None] = print
    budget: float = 480.0
    plugin: Path | None = None
    models: Path | None = None
    docs: Path | None = None


def check_numbers(context: Context, cases: Iterable[Use] | None = None) -> StepResult:
    """Every kernel, dtype and shape against float64, in the packed form."""
    uses = uses_of(context.op, context.compute_capability) if cases is None else cases
    return _check(context, uses, lambda i: ("packed", 1))


def check_memory(context: Context, cases: Iterable[Use] | None = None) -> StepResult:
    """The other layouts, each run four times: guard bands, gaps, poisoned outputs, equal bits."""
    uses = uses_of(context.op, context.compute_capability) if cases is None else cases
    others = [layout for layout in LAYOUTS if layout != "packed"]
    return _check(context, uses, lambda i: (others[i % len(others)], 4))


def _check(context: Context, uses: Iterable[Use], plan: Callable[[int], tuple[str, int]]) -> StepResult:
    """Check uses one after the other; ``plan`` gives layout and repetitions by their number."""
    began = time.monotonic()
    problems: list[str] = []
    worst: dict[str, dict[str, Any]] = {}
    inputs: dict[tuple[Any, str], Inputs] = {}
    done = left_out = refused = 0
    for i, use in enumerate(uses):
        if time.monotonic() - began > context.budget:
            left_out += 1
            continue
        key = (use.case, use.dtype)
        if key not in inputs:
            inputs = {key: inputs_of(*key)}  # uses of one case stand together
        layout, runs = plan(i)
        context.say(f"{use} {layout}")
        outcome = checked(context.op, use, inputs[key], context.device, layout, runs)
        if layout == "misaligned" and _is_about_alignment(outcome):
            refused += 1  # a tactic may refuse misaligned tensors, by a reason
            continue
        done += 1
        problems += [f"{use} {layout}: {problem}" for problem in outcome.problems]
        _note(worst, use, outcome)
    missing = _without_any_use(context, worst) if done else ["nothing was checked"]
    problems += [*missing, *([f"{left_out} uses were left out: the time was over"] if left_out else [])]
    summary = f"{done} uses checked, {len(problems)} problems"
    figures = {"worst": worst, "checked": done, "refused": refused, "left_out": left_out, "problems": len(problems)}
    return StepResult(summary, problems[:MOST_PROBLEMS], figures)


def _is_about_alignment(outcome: Outcome) -> bool:
    return any("multiples of 16 bytes" in problem for problem in outcome.problems)


def _note(worst: dict[str, dict[str, Any]], use: Use, outcome: Outcome) -> None:
    kept = worst.setdefault(f"{use.tactic_name} {use.dtype}", {"uses": 0, "share_of_limit": 0.0})
    kept["uses"] += 1
    share = outcome.error / outcome.limit if outcome.limit else float("inf")
    if not share <= kept["share_of_limit"]:
        kept.update(share_of_limit=share, error=outcome.error, limit=outcome.limit, case=str(use.case))


def _without_any_use(context: Context, worst: dict[str, dict[str, Any]]) -> list[str]:
    """Name the tactics that no case reached: a check that did not happen is no success."""
    reached = {name.split()[0] for name in worst}
    return [f"no case reached the tactic {name}" for name in context.op.tactics() if name not in reached]
