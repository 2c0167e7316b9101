"""The kernels under compute-sanitizer: one tool per step, on cases small enough for its slowness."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_checks.accuracy import checked, inputs_of
from gpu_checks.cases import Use, uses_of
from gpu_checks.result import StepResult

if TYPE_CHECKING:
    from gpu_checks.steps import Context

SCRIPTS = Path(__file__).resolve().parents[1]
LARGEST = 40_000  # elements of a tensor: one case takes seconds at most


def find_sanitizer() -> Path | None:
    """Find compute-sanitizer: COMPUTE_SANITIZER, on the path, in a CUDA toolkit, in this Python's packages."""
    if named := os.environ.get("COMPUTE_SANITIZER"):
        return Path(named)
    if found := shutil.which("compute-sanitizer"):
        return Path(found)
    roots = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))]
    roots += sorted((Path(sysconfig.get_path("purelib")) / "nvidia").glob("cu*"), reverse=True)
    return next((root / "bin" / "compute-sanitizer" for root in roots if _is_there(root)), None)


def _is_there(root: Path) -> bool:
    return (root / "bin" / "compute-sanitizer").is_file()


def command_for(sanitizer: Path, tool: str, program: Sequence[str]) -> list[str]:
    """Give the command line: our kernels only, an exit status of its own for findings."""
    options = ["--tool", tool, "--kernel-name", "kernel_substring=natdeploy", "--error-exitcode", "9"]
    options += ["--print-limit", "20", "--launch-timeout", "120"]
    if tool == "memcheck":
        options += ["--leak-check", "no"]  # PyTorch keeps its memory
    return [str(sanitizer), *options, *program]


def findings_in(output: str) -> tuple[int | None, list[str]]:
    """Read the count of errors and hazards, and the first lines of each, from what the tool printed.

    Returns:
        The count, None where there is no summary; and one line per finding.
    """
    counts = re.findall(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+)", output)
    lines = [line.removeprefix("=========").strip() for line in output.splitlines() if line.startswith("=========")]
    kinds = re.compile(r"^(Invalid|Uninitialized|Race|Error|Warning|Barrier|Misaligned|Potential|Program hit)")
    return (sum(map(int, counts)) if counts else None), [line for line in lines if kinds.match(line)]


def check_with_sanitizer(context: Context, tool: str) -> StepResult:
    """Run the small cases in a process of their own under one tool."""
    sanitizer = find_sanitizer()
    if sanitizer is None:
        reason = "compute-sanitizer was not found: install the CUDA toolkit, or name it by COMPUTE_SANITIZER"
        return StepResult("", skipped=reason)
    program = [sys.executable, "-m", "gpu_checks", "--inside-sanitizer", "--library", str(context.op.path)]
    program += ["--budget", str(context.budget)]
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # every tensor an allocation of its own
    environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent), os.environ.get("PYTHONPATH", "")])
    context.say(f"{sanitizer} --tool {tool}")
    done = subprocess.run(
        command_for(sanitizer, tool, program), capture_output=True, text=True, check=False, env=environment
    )
    return result_of(tool, done.returncode, done.stdout + done.stderr)


def result_of(tool: str, status: int, output: str) -> StepResult:
    """Judge a run by its summary, its status and whether the cases were run at all."""
    count, findings = findings_in(output)
    ran = re.search(r"^sanitized (\d+) uses, (\d+) wrong$", output, re.MULTILINE)
    problems = findings[:20]
    if count is None:
        problems.append(f"{tool} gave no summary; it ended with status {status}: {output.strip()[-300:]}")
    elif count > 0 and not problems:
        problems.append(f"{tool} counts {count} findings")
    if ran is None or int(ran[1]) == 0:
        problems.append("the cases did not run to their end")
    elif int(ran[2]) > 0:
        problems.append(f"{ran[2]} uses gave wrong numbers under {tool}")
    uses = int(ran[1]) if ran else 0
    return StepResult(f"{tool}: {uses} uses, {count} findings", problems, {"uses": uses, "findings": count})


def small_uses(context: Context) -> list[Use]:
    """Give the cases that run under the tools, those that reach a tactic for the first time in front."""
    found = [use for use in uses_of(context.op, context.compute_capability) if _elements(use) <= LARGEST]
    seen: dict[tuple[str, str], int] = {}
    order = []
    for use in found:
        turn = seen[use.tactic_name, use.dtype] = seen.get((use.tactic_name, use.dtype), 0) + 1
        order.append((turn, use))
    return [use for _, use in sorted(order, key=lambda item: item[0])]


def _elements(use: Use) -> int:
    case = use.case
    height, width = case.extents
    return case.batch * height * width * case.heads * case.head_dim


def run_small_uses(context: Context, uses: Iterable[Use], clock: Iterable[float]) -> tuple[int, int]:
    """Run uses until the budget is spent; gives how many ran and how many were wrong.

    Args:
        context: What to run on.
        uses: From small_uses.
        clock: Seconds since the start, asked before each use.
    """
    ran = wrong = 0
    for use, seconds in zip(uses, clock, strict=False):
        if seconds > context.budget:
            break
        outcome = checked(context.op, use, inputs_of(use.case, use.dtype), context.device)
        ran += 1
        wrong += bool(outcome.problems)
    return ran, wrong
