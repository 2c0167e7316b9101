"""``python -m gpu_checks``: runs the steps, each in a process of its own, and keeps what they find.

--list            the steps, in order of value
--step NAME       one step, here
(neither)         all of them, one process each, ten minutes at most
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.errors import NatdeployError

if TYPE_CHECKING:
    from gpu_checks.result import StepResult
    from gpu_checks.steps import Context

ROOT = Path(__file__).resolve().parents[2]
SECONDS_PER_STEP = 590  # a step that takes longer is ended
EXIT_PASSED, EXIT_FAILED = 0, 1


@dataclass(frozen=True)
class Step:
    """A step: what it is for, and the function of this package that runs it, with a Context and ``arguments``."""

    name: str
    purpose: str
    module: str
    function: str
    arguments: tuple[str, ...] = ()

    def run(self, context: Context) -> StepResult:
        """Run it here."""
        found: StepResult = getattr(importlib.import_module(f"gpu_checks.{self.module}"), self.function)(
            context, *self.arguments
        )
        return found


def _sanitized(tool: str) -> Step:
    return Step(tool, f"small cases under compute-sanitizer's {tool}", "sanitizer", "check_with_sanitizer", (tool,))


STEPS = (  # in order of value
    Step("first-look", "nat_mini at batch 128: right, and how near the predictions", "speed", "first_look"),
    Step("numbers", "kernels x dtypes x shapes against float64", "steps", "check_numbers"),
    Step("memory", "other layouts: guard bands, poisoned outputs, repeated runs", "steps", "check_memory"),
    *(_sanitized(tool) for tool in ("memcheck", "racecheck", "initcheck", "synccheck")),
    Step("graphs", "CUDA graph capture and replay", "graphs", "check_graphs"),
    Step("times", "against the memory floor, dense and flex attention", "speed", "check_times"),
    Step("large", "tensors of more than 2^31 elements", "large", "check_large"),
    Step("engines", "TensorRT engines of whole models and layers (TENSORRT_ROOT)", "engines", "check_engines"),
    Step("plans", "natdeploy's own build-engine and verify: precisions, CUDA graphs", "plans", "check_plans"),
)


def main() -> int:
    """Run what the command line asks for; gives the exit status."""
    options = _options()
    try:
        if options.list:
            print("\n".join(f"{step.name:<12} {step.purpose}" for step in STEPS))
            return EXIT_PASSED
        require_gpu()
        if options.inside_sanitizer:
            return run_inside_sanitizer(context_of(options))
        return run_one(options) if options.step else run_all(options)
    except NatdeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run_gpu_checks.sh", description="Check the kernels on a GPU.")
    parser.add_argument("--list", action="store_true", help="list the steps")
    parser.add_argument("--step", metavar="NAME", help="run this step alone")
    parser.add_argument("--library", type=Path, help="libnatdeploy_op.so (or NATDEPLOY_OP_LIBRARY)")
    parser.add_argument("--plugin", type=Path, help="libnatdeploy_trt.so (default: beside the library)")
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "gpu-models", help="ONNX files for the engines")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "gpu", help="where results are kept")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds after which a step begins nothing new")
    parser.add_argument("--inside-sanitizer", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def require_gpu() -> None:
    """Refuse, in one sentence, where torch or the GPU is missing."""
    try:
        import torch
    except ImportError as error:
        raise NatdeployError(
            "the GPU checks need PyTorch", got=str(error), next_step="Install it: pip install torch numpy"
        ) from None
    if not torch.cuda.is_available():
        raise NatdeployError(
            "there is no GPU here",
            got=f"torch {torch.__version__} finds no CUDA device",
            needed="an NVIDIA GPU of compute capability 7.5 or newer, and a PyTorch built for CUDA",
        )


def library_path(named: Path | None) -> Path:
    """Find libnatdeploy_op.so: the option, the environment variable, the default build folder."""
    candidates = [named] if named else [Path(p) for p in [os.environ.get("NATDEPLOY_OP_LIBRARY")] if p]
    found = (candidates or [ROOT / "build" / "plugins" / "libnatdeploy_op.so"])[0]
    if not found.is_file():
        raise NatdeployError(
            "the library to check was not found",
            got=str(found),
            needed="a libnatdeploy_op.so, named by --library or NATDEPLOY_OP_LIBRARY",
            next_step="Build it with `cmake -S plugins -B build/plugins && cmake --build build/plugins`",
        )
    return found


def context_of(options: argparse.Namespace) -> Context:
    """Load the library and describe this machine's first GPU."""
    from gpu_checks.library import OpLibrary
    from gpu_checks.steps import Context
    from gpu_checks.timing import CudaTimer

    op = OpLibrary(library_path(options.library))
    beside = op.path.with_name("libnatdeploy_trt.so")
    return Context(
        op=op,
        device="cuda",
        compute_capability=op.compute_capability(),
        timer=CudaTimer(),
        say=lambda text: print(f"  {text}", flush=True),
        budget=options.budget,
        plugin=options.plugin or (beside if beside.is_file() else None),
        models=options.models,
        docs=ROOT / "docs" / "gpu",
    )


def gpu_facts() -> dict[str, Any]:
    """Describe the GPU and what runs on it."""
    import torch

    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "compute_capability": 10 * found.major + found.minor,
        "multiprocessors": found.multi_processor_count,
        "memory_bytes": found.total_memory,
        "l2_bytes": int(getattr(found, "L2_cache_size", 0)),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def run_one(options: argparse.Namespace) -> int:
    """Run one step in this process and keep its result."""
    from gpu_checks.result import Record

    known = {step.name: step for step in STEPS}
    if options.step not in known:
        raise NatdeployError(f"there is no step '{options.step}'", needed=", ".join(known))
    context = context_of(options)
    facts = {"kernel_version": context.op.kernel_version, "sha256": context.op.digest}
    record = Record(options.output, gpu_facts(), facts)
    began = time.monotonic()
    result = known[options.step].run(context)
    outcome = result.as_json(time.monotonic() - began)
    record.keep(options.step, outcome)
    print("\n".join([f"{outcome['verdict']}: {outcome['summary']}", *(f"  {p}" for p in outcome["problems"])]))
    return EXIT_FAILED if result.problems else EXIT_PASSED


def run_all(options: argparse.Namespace) -> int:
    """Run every step in a process of its own: a crash or a hang of one is its own result."""
    from gpu_checks.result import Record

    context = context_of(options)
    facts = {"kernel_version": context.op.kernel_version, "sha256": context.op.digest}
    record = Record(options.output, gpu_facts(), facts)
    failed = []
    for step in STEPS:
        print(f"==> {step.name}: {step.purpose}", flush=True)
        arguments = [*sys.argv[1:], "--step", step.name]
        before = record.path.read_text(encoding="utf-8") if record.path.exists() else ""
        began = time.monotonic()
        status, tail = run_child([sys.executable, "-m", "gpu_checks", *arguments])
        after = record.path.read_text(encoding="utf-8") if record.path.exists() else ""
        if after == before:  # it ended without a result
            record.keep(step.name, crash_of(status, tail, time.monotonic() - began))
        else:
            record = Record(options.output, gpu_facts(), facts)  # with what the step wrote
        failed += [step.name] if status else []
    print(f"results: {record.path}\n" + (f"failed: {', '.join(failed)}" if failed else "no step failed"))
    return EXIT_FAILED if failed else EXIT_PASSED


def run_child(command: list[str], limit: float = SECONDS_PER_STEP) -> tuple[int | str, list[str]]:
    """Run a step, showing what it prints; gives its status (or ``timeout``) and its last lines."""
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            child.kill()

        timer = threading.Timer(limit, end)
        timer.start()
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            lines = [*lines, line.rstrip()][-20:]
        status = child.wait()
        timer.cancel()
    return ("timeout" if overdue.is_set() else status), lines


def crash_of(status: int | str, tail: list[str], seconds: float) -> dict[str, Any]:
    """Give the result of a step that gave none."""
    from gpu_checks.result import StepResult

    ended = "was ended after its ten minutes" if status == "timeout" else f"ended with status {status}"
    last = tail[-1].strip() if tail else "nothing"
    return StepResult(f"crashed: {ended}; the last it said: {last}", tail or ["no output"]).as_json(seconds)


def run_inside_sanitizer(context: Context) -> int:
    """Run the small cases; the parent reads the last line."""
    from gpu_checks import sanitizer

    def seconds() -> Iterator[float]:
        began = time.monotonic()
        while True:
            yield time.monotonic() - began

    ran, wrong = sanitizer.run_small_uses(context, sanitizer.small_uses(context), seconds())
    print(f"sanitized {ran} uses, {wrong} wrong", flush=True)
    return EXIT_PASSED


if __name__ == "__main__":
    sys.exit(main())
