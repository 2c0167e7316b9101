"""The checks that run on a GPU, here over the kernels executed on this CPU: what they pass, and what they catch."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from ops.cases import Case
from scripts.emulated_op import emulated_op
from side_environments import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks import sanitizer, steps
from gpu_checks.accuracy import checked, inputs_of, limit_for
from gpu_checks.cases import MODEL_MAPS, Use, all_cases, uses_of
from gpu_checks.guarded import LAYOUTS, Guarded, Placed
from gpu_checks.large import check_large
from kernel_model.workloads import Workload

from natdeploy.ops.spec import OP_TOLERANCE

CASE = Case((7, 9), (3, 3), (2, 1), has_rpb=True, batch=2, head_dim=32)


class Sabotaged:
    """The library, with something done to the tensors of every launch afterwards."""

    def __init__(self, op, sabotage):
        self._op, self._sabotage, self.launches = op, sabotage, 0

    def __getattr__(self, name):
        return getattr(self._op, name)

    def launch(self, attention, tactic, query, key, value, rpb, output):
        self._op.launch(attention, tactic, query, key, value, rpb, output)
        self.launches += 1
        self._sabotage(query=query, rpb=rpb, output=output, launches=self.launches)


class InstantTimer:
    def seconds_per_call(self, calls):
        for call in calls:
            call()
        return 1e-3


def context_of(op, **values) -> steps.Context:
    return steps.Context(
        op=op, device="cpu", compute_capability=90, timer=InstantTimer(), say=lambda text: None, **values
    )


def use_of(case: Case = CASE, dtype: str = "float16", tactic: str = "generic") -> Use:
    return Use(case, dtype, tactic, emulated_op().tactics()[tactic])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_right_kernel_passes_in_every_layout(layout: str, dtype: str):
    outcome = checked(emulated_op(), use_of(dtype=dtype), inputs_of(CASE, dtype), "cpu", layout, runs=2)
    assert outcome.problems == ()
    assert 0 < outcome.error <= outcome.limit <= OP_TOLERANCE[dtype]


def _beside(tensor, offset):
    """One element outside of a tensor."""
    return tensor.as_strided((1,), (1,), tensor.storage_offset() + offset)


SABOTAGE = {
    "wrong": (lambda output, **_: output[1, 3, 4, 1, 7].add_(0.01), "error .* exceeds"),
    "NaN left": (lambda output, **_: output[0, 6].fill_(torch.nan), "outputs are NaN"),
    "infinite": (lambda output, **_: output[0, 0, 0, 0].fill_(torch.inf), "error inf exceeds"),
    "before the output": (lambda output, **_: _beside(output, -1).fill_(0), "wrote outside"),
    "behind the output": (lambda output, **_: _beside(output, output.numel()).fill_(0), "wrote outside"),
    "changed input": (lambda query, **_: query[1, 0, 0, 0, 0].add_(1), "changed its inputs"),
    "beside the input": (lambda query, **_: _beside(query, -1).fill_(0), "changed its inputs"),
    "beside the table": (lambda rpb, **_: _beside(rpb, rpb.numel()).fill_(0), "changed its inputs"),
    "changed table": (lambda rpb, **_: rpb[3].add_(1), "changed its inputs"),
    "from run to run": (lambda output, launches, **_: output.mul_(1 + launches * 2**-10), "gave different results"),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_what_a_kernel_must_not_do_is_caught(name: str):
    sabotage, message = SABOTAGE[name]
    op = Sabotaged(emulated_op(), sabotage)
    outcome = checked(op, use_of(), inputs_of(CASE, "float16"), "cpu", runs=2)
    assert any(re.search(message, problem) for problem in outcome.problems), outcome.problems


def test_a_write_between_tokens_is_caught():
    op = Sabotaged(emulated_op(), lambda output, **_: _beside(output, 2 * 32 + 3).fill_(1))
    assert checked(op, use_of(), inputs_of(CASE, "float16"), "cpu", "gaps").problems == (
        "wrote between the tokens of the output",
    )


def test_a_read_outside_of_the_tensors_reaches_the_output():
    """Guards are NaN: a kernel that reads them with any weight gives NaN."""
    memory = Guarded(6, torch.float16, shift=1)
    tensor = memory.upload("cpu")
    assert tensor.data_ptr() % 16 == 2
    assert torch.isnan(_beside(tensor, -1)).all() and torch.isnan(_beside(tensor, 6)).all()
    assert torch.isnan(tensor).all()  # the output is poisoned


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_hold_what_is_put_into_them(layout: str):
    shape, count = (2, 3, 4, 2, 5), 3 if layout == "packed" else 1
    placed = Placed(shape, torch.float32, layout, count)
    values = [torch.randn(shape) for _ in range(count)]
    placed.fill(*values)
    tensors = placed.upload("cpu")
    assert all(torch.equal(a, b) for a, b in zip(tensors, values, strict=True))
    assert placed.is_unchanged()
    assert tensors[0].is_contiguous() == (layout in ("split", "misaligned"))
    tensors[0][1, 2, 3, 1, 4] += 1
    assert not placed.is_unchanged()


def test_limits():
    assert limit_for("float32", 1.0) == OP_TOLERANCE["float32"]
    assert limit_for("float16", 5e-4) == 1e-3
    assert limit_for("float16", 1.0) == OP_TOLERANCE["float16"]
    assert limit_for("bfloat16", 0.0) > 0


def test_expected_values_are_those_of_the_slow_reference():
    for dtype in ("float32", "bfloat16"):
        inputs = inputs_of(CASE, dtype)
        assert np.abs(inputs.expected.numpy() - CASE.expected(dtype)).max() < 1e-12
    assert inputs_of(replace(CASE, batch=0), "float32").pytorch_error == 0


def test_the_cases_reach_every_tactic_and_dtype():
    op = emulated_op()
    uses = list(uses_of(op, 90))
    built = {name for name, tactic in op.tactics().items() if name in {use.tactic_name for use in uses}}
    assert {(u.tactic_name, u.dtype) for u in uses} >= {
        ("generic", "float32"), ("generic", "float16"), ("tensor_core", "float16"), ("tensor_core", "bfloat16")
    }  # fmt: skip
    assert {"generic", "tensor_core"} <= built
    assert len(uses) == len(set(map(str, uses))), "a case stands in the table twice"
    turing = {(use.tactic_name, use.dtype) for use in uses_of(op, 75)}
    assert {tactic for tactic, dtype in turing if dtype == "bfloat16"} == {"generic"}  # sm_75 has no bfloat16 mma
    assert ("tensor_core", "float16") in turing
    assert max(case.extents[0] for case in all_cases()) >= 56


def test_numbers_and_memory_steps():
    context = context_of(emulated_op())
    uses = [
        use_of(),
        use_of(tactic="tensor_core"),
        use_of(replace(CASE, has_rpb=False), "float32"),
        use_of(dtype="bfloat16"),
    ]
    for step in (steps.check_numbers, steps.check_memory):
        result = step(context, uses)
        reached = [problem for problem in result.problems if not problem.startswith("no case reached the tactic")]
        assert reached == []
        assert result.figures["checked"] + result.figures["refused"] == 4
        assert result.figures["worst"]["generic float16"]["uses"] >= 1
        assert 0 < result.figures["worst"]["generic float16"]["share_of_limit"] <= 1


def test_a_step_fails_where_one_use_is_wrong_or_none_ran_or_time_was_short():
    op = Sabotaged(emulated_op(), lambda output, **_: output.add_(0.5))
    wrong = steps.check_numbers(context_of(op), [use_of()])
    assert wrong.verdict == "failed" and "exceeds" in wrong.problems[0] and str(CASE) in wrong.problems[0]
    assert wrong.figures["worst"]["generic float16"]["share_of_limit"] > 1
    assert steps.check_numbers(context_of(emulated_op()), []).problems == ["nothing was checked"]
    late = steps.check_numbers(context_of(emulated_op(), budget=-1.0), [use_of()])
    assert late.verdict == "failed" and late.figures["left_out"] == 1
    missing = steps.check_numbers(context_of(emulated_op()), [use_of()])
    assert "no case reached the tactic tensor_core" in missing.problems


def test_small_cases_for_sanitizers_reach_every_tactic_at_once():
    context = context_of(emulated_op())
    uses = sanitizer.small_uses(context)
    kinds = {(use.tactic_name, use.dtype) for use in uses}
    assert {(use.tactic_name, use.dtype) for use in uses[: len(kinds)]} == kinds
    assert sanitizer.run_small_uses(context, uses[:3], iter([0.0, 1.0, 2.0])) == (3, 0)
    assert sanitizer.run_small_uses(context, uses[:3], iter([0.0, 1e9, 2e9])) == (1, 0)
    broken = context_of(Sabotaged(emulated_op(), lambda output, **_: output.zero_()))
    assert sanitizer.run_small_uses(broken, uses[:2], iter([0.0, 0.0])) == (2, 2)


def test_large_tensors_are_compared_at_their_ends():
    stage = Workload("small", 7, 8, heads=1, head_dim=8, kernel_size=3)
    result = check_large(context_of(emulated_op()), (stage,), limit=7 * 8 * 24 * 5)
    assert result.problems == [] and "1 launches" in result.summary

    class LastImageWrong(Sabotaged):
        def launch_packed(self, attention, tactic, qkv, rpb, output):
            self._op.launch_packed(attention, tactic, qkv, rpb, output)
            output[-1].fill_(torch.nan)

    broken = check_large(context_of(LastImageWrong(emulated_op(), None)), (stage,), limit=7 * 8 * 24 * 5)
    assert [problem for problem in broken.problems if "image 6 of 7" in problem] == broken.problems != []


@pytest.mark.slow
def test_the_whole_table_passes_here():
    """So that a failure on a GPU is the GPU's: all uses but the largest maps."""
    context = context_of(emulated_op(), budget=300.0)
    small = tuple(case for case in all_cases() if case not in MODEL_MAPS)
    result = steps.check_numbers(context, uses_of(context.op, 90, small))
    assert result.figures["checked"] > 250 and result.figures["left_out"] == 0
    assert [problem for problem in result.problems if "no case reached" not in problem] == []
