"""Launches inside CUDA graphs: captured first thing in a process, replayed with other inputs, equal bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from kernel_model.workloads import STAGES, Workload

from gpu_checks.result import StepResult
from gpu_checks.speed import attention_of, buffers_for, usable_tactics

if TYPE_CHECKING:
    from gpu_checks.steps import Context


def check_graphs(context: Context) -> StepResult:
    """Capture every tactic on every stage before any plain launch of it, and compare replays with plain launches."""
    problems, done = [], 0
    for stage in STAGES:
        w = Workload(**{**vars(stage), "batch": 3})
        for name, tactic in usable_tactics(context, w).items():
            context.say(f"{name} {w.name}")
            problems += [f"{name} {w.name}: {problem}" for problem in _problems_of(context, w, tactic)]
            done += 1
    problems += [] if done else ["nothing was captured"]
    return StepResult(f"{done} launches captured and replayed, {len(problems)} problems", problems, {"captured": done})


def _problems_of(context: Context, w: Workload, tactic: int) -> list[str]:
    attention, buffers = attention_of(w), buffers_for(w, context.device, 1)
    (qkv, other), (output, plain) = buffers.qkv[:2], buffers.output[:2]
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            context.op.launch_packed(attention, tactic, qkv, buffers.rpb, output)
    except Exception as error:
        return [f"cannot be captured: {error}"]
    if not torch.isnan(output).all():
        return ["ran while it was captured"]
    problems = []
    for values in (qkv.clone(), other):
        qkv.copy_(values)
        output.fill_(torch.nan)
        graph.replay()
        context.op.launch_packed(attention, tactic, qkv, buffers.rpb, plain.fill_(torch.nan))
        torch.cuda.synchronize()
        if torch.isnan(output).any() or not torch.equal(output, plain):
            problems.append("a replay differs from a plain launch")
    return problems
