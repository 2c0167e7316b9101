"""How fast the kernels are: against the memory floor of this card, PyTorch's own attention, and the predictions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from kernel_model.workloads import STAGES, Workload
from torch import Tensor

from gpu_checks import baselines
from gpu_checks.accuracy import limit_for
from gpu_checks.library import Attention
from gpu_checks.result import StepResult
from gpu_checks.timing import buffer_sets, copy_bandwidth
from natdeploy.ops.torch_op import attention_from_windows

if TYPE_CHECKING:
    from gpu_checks.steps import Context

FLOOR_GOAL = 0.5  # floor over measured, nat_mini stages 1 and 2
DILATION_GOAL = 1.1  # a dilated layer over the plain one of its stage
FLEX_GOAL = 2.0  # compiled flex attention over ours
L2_BYTES = 64 << 20  # where torch does not say
IN_CACHE = 8 << 20  # bytes of a copy that stays in every cache: the bandwidth that kernel_model/gpus.py assumes


@dataclass(frozen=True)
class Buffers:
    """Sets of packed inputs and outputs that are used in turn, and one bias table."""

    qkv: list[Tensor]
    output: list[Tensor]
    rpb: Tensor


def attention_of(w: Workload) -> Attention:
    """Translate a workload for the library."""
    kind = getattr(torch, w.dtype)
    return Attention(kind, w.batch, w.height, w.width, w.heads, w.head_dim, baselines.neighborhood_of(w), True)


def buffers_for(w: Workload, device: str, cache_bytes: int) -> Buffers:
    """Draw unit-variance inputs; as many sets as the caches cannot hold."""
    torch.manual_seed(0)
    kind, channels = getattr(torch, w.dtype), w.heads * w.head_dim
    sets = buffer_sets(w.compulsory_bytes, cache_bytes)
    shape = (w.batch, w.height, w.width)
    qkv = [torch.randn(*shape, 3 * channels, dtype=kind, device=device) for _ in range(sets)]
    output = [torch.full((*shape, channels), torch.nan, dtype=kind, device=device) for _ in range(sets)]
    table = 2 * w.kernel_size - 1
    return Buffers(qkv, output, torch.randn(w.heads, table, table, device=device))


def usable_tactics(context: Context, w: Workload) -> dict[str, int]:
    """Give the tactics that can compute a workload here."""
    attention = attention_of(w)
    return {
        name: tactic
        for name, tactic in context.op.tactics().items()
        if context.op.reason_against(tactic, attention, context.compute_capability) is None
    }


def row_of(context: Context, w: Workload, tactic: str, buffers: Buffers, bandwidth: float) -> dict[str, Any]:
    """Time one tactic on one workload."""
    attention, number = attention_of(w), context.op.tactics()[tactic]

    def call(qkv: Tensor, output: Tensor) -> Callable[[], None]:
        return lambda: context.op.launch_packed(attention, number, qkv, buffers.rpb, output)

    calls = [call(*pair) for pair in zip(buffers.qkv, buffers.output, strict=True)]
    us = 1e6 * context.timer.seconds_per_call(calls)
    floor = 1e6 * w.compulsory_bytes / bandwidth
    known = {"workload": w.name, "batch": w.batch, "dtype": w.dtype, "tactic": tactic}
    return {**known, "us": round(us, 2), "floor_us": round(floor, 2), "floor_ratio": round(floor / us, 3)}


def accuracy_of(context: Context, w: Workload, tactic: str, buffers: Buffers) -> dict[str, Any]:
    """Compare one whole output with float64, computed on the device."""
    n = baselines.neighborhood_of(w)
    qkv, output = buffers.qkv[0], buffers.output[0]
    output.fill_(torch.nan)
    context.op.launch_packed(attention_of(w), context.op.tactics()[tactic], qkv, buffers.rpb, output)
    parts = qkv.unflatten(-1, (3, w.heads, w.head_dim)).unbind(-3)
    expected = attention_from_windows(*(x.double() for x in parts), buffers.rpb.double(), n)
    own = attention_from_windows(*parts, buffers.rpb, n)
    error = (output.view_as(expected).double() - expected).abs().max().item()
    limit = limit_for(w.dtype, (own.double() - expected).abs().max().item())
    return {"error": error, "limit": limit, "right": error <= limit}  # NaN is not right


def first_look(context: Context, workloads: Sequence[Workload] = STAGES) -> StepResult:
    """Whether the kernels give right numbers at the sizes of nat_mini, and how near the predictions they are."""
    bandwidth = copy_bandwidth(context.timer, context.device)
    predicted, rows, problems = predictions(context), [], []
    for w in workloads:
        buffers = buffers_for(w, context.device, cache_bytes(context))
        for tactic in usable_tactics(context, w):
            context.say(f"{tactic} {w.name}")
            accuracy = accuracy_of(context, w, tactic, buffers)
            row = {**row_of(context, w, tactic, buffers, bandwidth), **accuracy}
            row["predicted_us"] = predicted.get((w.name, w.batch, w.dtype, tactic))
            rows.append(row)
            if not accuracy["right"]:
                problems.append(f"{tactic} {w.name}: error {accuracy['error']:.2e} exceeds {accuracy['limit']:.2e}")
    best = max((row["floor_ratio"] for row in rows), default=0.0)
    summary = f"{len(rows)} launches at batch {workloads[0].batch}, best floor ratio {best:.2f}"
    problems += [] if rows else ["no tactic can compute any workload"]
    figures = {"copy_bandwidth": bandwidth, "rows": rows}
    figures["copy_bandwidth_in_l2"] = copy_bandwidth(context.timer, context.device, IN_CACHE)
    return StepResult(summary, problems, figures)


def check_times(context: Context, workloads: Sequence[Workload] = STAGES, compile_flex: bool = True) -> StepResult:
    """Times of all stages, dtypes and batches against floor and baselines; whether the goals are met."""
    began = time.monotonic()
    bandwidth = copy_bandwidth(context.timer, context.device)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    variants = [{}, {"batch": 1}, {"batch": 8}, {"dtype": "bfloat16"}, {"dtype": "float32"}]
    for w in (replace(w, **change) for change in variants for w in workloads):
        context.say(f"{w.name}, batch {w.batch}, {w.dtype}")
        buffers = buffers_for(w, context.device, cache_bytes(context))
        rows += [row_of(context, w, tactic, buffers, bandwidth) for tactic in usable_tactics(context, w)]
        if w not in workloads:
            continue
        for name, make in {"dense attention": _dense, "flex attention": _flex(compile_flex)}.items():
            if time.monotonic() - began > context.budget:
                notes.append(f"{name} was not timed on {w.name}: the time was over")
                continue
            context.say(f"{name} {w.name}")
            rows.append(_baseline_row(context, w, name, make, buffers, bandwidth))
    problems = missed_goals(rows, workloads[0].batch)
    summary = f"{len(rows)} times, {len(problems)} goals missed; copies run at {bandwidth / 1e12:.2f} TB/s"
    return StepResult(summary, problems, {"copy_bandwidth": bandwidth, "rows": rows, "notes": notes})


def _dense(w: Workload, rpb: Tensor) -> baselines.Call:
    return baselines.dense_attention(w, rpb)


def _flex(compile_it: bool) -> Callable[[Workload, Tensor], baselines.Call]:
    return lambda w, rpb: baselines.flex_attention(w, rpb, compile_it)


def _baseline_row(
    context: Context,
    w: Workload,
    name: str,
    make: Callable[[Workload, Tensor], baselines.Call],
    buffers: Buffers,
    bandwidth: float,
) -> dict[str, Any]:
    """Time one of PyTorch's ways, after a look at its numbers: a wrong baseline is no baseline."""
    row: dict[str, Any] = {"workload": w.name, "batch": w.batch, "dtype": w.dtype, "tactic": name}
    try:
        function = make(w, buffers.rpb)
        given = function(buffers.qkv[0]).permute(0, 2, 1, 3)
        parts = buffers.qkv[0].unflatten(-1, (3, w.heads, w.head_dim)).unbind(-3)
        own = attention_from_windows(*parts, buffers.rpb, baselines.neighborhood_of(w)).flatten(1, 2)
        row["difference"] = (given.float() - own.float()).abs().max().item()
        us = 1e6 * context.timer.seconds_per_call([lambda x=x: function(x) for x in buffers.qkv])  # type: ignore[misc]
    except Exception as error:  # whatever PyTorch cannot do here is a finding about the baseline, not about us
        return {**row, "us": None, "note": f"{type(error).__name__}: {str(error)[:200]}"}
    floor = 1e6 * w.compulsory_bytes / bandwidth
    return {**row, "us": round(us, 2), "floor_us": round(floor, 2), "floor_ratio": round(floor / us, 3)}


def missed_goals(rows: Sequence[dict[str, Any]], batch: int = 128) -> list[str]:
    """Say which goals the measured times miss; what was not measured is missed as well.

    Args:
        rows: As check_times keeps them.
        batch: Of the rows that goals are about, in float16.
    """
    missed = []
    ours: dict[str, float] = {}
    flex: dict[str, float] = {}
    for row in rows:
        if row["batch"] != batch or row["dtype"] != "float16" or not row["us"]:
            continue
        kept = {"flex attention": flex, "dense attention": {}}.get(row["tactic"], ours)
        kept[row["workload"]] = min(kept.get(row["workload"], float("inf")), row["us"])
    floors = {row["workload"]: row["floor_us"] for row in rows if row["batch"] == batch and row.get("floor_us")}
    for stage in ("nat_mini stage 1", "nat_mini stage 2"):
        ratio = floors.get(stage, 0.0) / ours.get(stage, float("inf"))
        if ratio < FLOOR_GOAL:
            missed.append(f"{stage}: {ratio:.0%} of the memory floor, the goal is {FLOOR_GOAL:.0%}")
    for name, us in ours.items():
        plain = name.replace("dinat", "nat").split(",")[0]
        if plain != name and plain in ours and us > DILATION_GOAL * ours[plain]:
            missed.append(f"{name}: {us / ours[plain]:.2f} times {plain}, the goal is {DILATION_GOAL}")
        if name not in flex:
            missed.append(f"{name}: flex attention has no time to compare with")
        elif flex[name] < FLEX_GOAL * us:
            missed.append(f"{name}: flex attention takes {flex[name] / us:.2f} times ours, the goal is {FLEX_GOAL}")
    return missed


def cache_bytes(context: Context) -> int:
    """Size of the level 2 cache."""
    if context.device != "cuda":
        return 1  # nothing to wait for: two sets
    return int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", L2_BYTES))


def predictions(context: Context) -> dict[tuple[str, int, str, str], list[float]]:
    """Read what scripts/kernel_report.py predicted for this compute capability."""
    path = context.docs / "prediction.json" if context.docs else None
    if path is None or not path.exists():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    return {
        (row["workload"], report["batch"], report["dtype"], row["tactic"]): row["predicted_us"]
        for architecture in report["architectures"]
        if architecture["compute_capability"] == context.compute_capability
        for row in architecture["launches"]
    }
