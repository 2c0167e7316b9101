"""Tensors of more than 2^31 elements: offsets must be 64 bits wide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from kernel_model.workloads import STAGES, Workload

from gpu_checks.accuracy import limit_for
from gpu_checks.baselines import neighborhood_of
from gpu_checks.result import StepResult
from gpu_checks.speed import attention_of, usable_tactics
from natdeploy.ops.torch_op import attention_from_windows

if TYPE_CHECKING:
    from gpu_checks.steps import Context

LIMIT = 1 << 31  # elements of qkv


def check_large(context: Context, stages: tuple[Workload, ...] = STAGES[:2], limit: int = LIMIT) -> StepResult:
    """Compute batches whose qkv has more elements than 32 bits count, and compare the last images."""
    problems, done = [], 0
    for stage in stages:
        w = replace(stage, batch=limit // (stage.height * stage.width * 3 * stage.heads * stage.head_dim) + 2)
        if _free_bytes(context) < 1.2 * w.compulsory_bytes:
            return StepResult("", skipped=f"{w.compulsory_bytes / 1e9:.0f} GB of GPU memory are not free")
        for name, tactic in usable_tactics(context, w).items():
            context.say(f"{name} {w.name}, batch {w.batch}")
            problems += [f"{name} {w.name}: {problem}" for problem in _problems_of(context, w, tactic)]
            done += 1
    problems += [] if done else ["nothing was checked"]
    return StepResult(f"{done} launches of more than 2^31 elements, {len(problems)} problems", problems)


def _free_bytes(context: Context) -> int:
    return torch.cuda.mem_get_info()[0] if context.device == "cuda" else 1 << 62


def _problems_of(context: Context, w: Workload, tactic: int) -> list[str]:
    kind, channels = getattr(torch, w.dtype), w.heads * w.head_dim
    shape = (w.batch, w.height, w.width)
    torch.manual_seed(0)
    one = torch.randn(4, *shape[1:], 3 * channels, dtype=kind, device=context.device)
    qkv = one.repeat(-(-w.batch // 4), 1, 1, 1)[: w.batch].contiguous()  # every fourth image is the same
    output = torch.full((*shape, channels), torch.nan, dtype=kind, device=context.device)
    rpb = torch.randn(w.heads, 2 * w.kernel_size - 1, 2 * w.kernel_size - 1, device=context.device)
    context.op.launch_packed(attention_of(w), tactic, qkv, rpb, output)
    parts = [x.double() for x in one.unflatten(-1, (3, w.heads, w.head_dim)).unbind(-3)]
    expected = attention_from_windows(*parts, rpb.double(), neighborhood_of(w)).flatten(-2)
    own = attention_from_windows(*(x.to(kind) for x in parts), rpb, neighborhood_of(w)).flatten(-2)
    limit = limit_for(w.dtype, (own.double() - expected).abs().max().item())
    problems = []
    for image in (0, w.batch // 2, w.batch - 2, w.batch - 1):
        error = (output[image].double() - expected[image % 4]).abs().max().item()
        if not error <= limit:
            problems.append(f"image {image} of {w.batch}: error {error:.2e} exceeds {limit:.2e}")
    return problems
