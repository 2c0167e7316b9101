"""Times, floors, goals and baselines, with a clock made here and PyTorch's attention on this CPU."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ops.cases import Case
from scripts.emulated_op import emulated_op
from side_environments import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks import baselines, speed, steps
from gpu_checks.timing import buffer_sets, copy_bandwidth
from kernel_model.workloads import Workload

from natdeploy.ops.reference import packed_neighborhood_attention

SMALL = (
    Workload("nat_mini stage 1", 9, 8, heads=2, kernel_size=3, batch=2),
    Workload("dinat_mini stage 1, dilation 2", 9, 8, heads=2, kernel_size=3, dilation=2, batch=2),
)


class FixedTimer:
    """Says that every call takes the same time, and counts them."""

    def __init__(self, seconds: float = 1e-4) -> None:
        self.seconds, self.rounds = seconds, []

    def seconds_per_call(self, calls) -> float:
        for call in calls:
            call()
        self.rounds.append(len(calls))
        return self.seconds


def context_of(op=None, timer=None, **values) -> steps.Context:
    timer = timer or FixedTimer()
    return steps.Context(op or emulated_op(), "cpu", 90, timer, say=lambda text: None, **values)


@pytest.fixture(autouse=True)
def small_copies(monkeypatch):
    monkeypatch.setattr(speed, "copy_bandwidth", lambda timer, device, size=0: 1e9)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("make", [baselines.dense_attention, lambda w, rpb: baselines.flex_attention(w, rpb, False)])
def test_baselines_compute_the_operator(make, dilation: int):
    w = Workload("", 9, 7, heads=3, head_dim=8, kernel_size=3, dilation=dilation, batch=2, dtype="float32")
    torch.manual_seed(1)
    qkv, rpb = torch.randn(2, 9, 7, 72), torch.randn(3, 5, 5)
    expected = packed_neighborhood_attention(qkv.numpy(), rpb.numpy(), 3, baselines.neighborhood_of(w))
    found = make(w, rpb)(qkv)  # [B, heads, H*W, head_dim]
    assert found.shape == (2, 3, 63, 8)
    difference = found.permute(0, 2, 1, 3).reshape(2, 9, 7, 24).double() - torch.from_numpy(expected)
    assert difference.abs().max() < 1e-5


def test_buffers_are_larger_than_the_cache_together():
    assert buffer_sets(200_000_000, 50 << 20) == 2
    assert buffer_sets(26_000_000, 50 << 20) == 9
    assert buffer_sets(1000, 50 << 20) == 32
    sets = speed.buffers_for(replace(SMALL[0], batch=3), "cpu", 10**6)
    assert len(sets.qkv) == len(sets.output) == buffer_sets(replace(SMALL[0], batch=3).compulsory_bytes, 10**6)
    assert not torch.equal(sets.qkv[0], sets.qkv[1])
    assert torch.isnan(sets.output[0]).all()


def test_bandwidth_counts_bytes_read_and_written():
    assert copy_bandwidth(FixedTimer(1e-3), "cpu", size=8000) == pytest.approx(16e6)


def test_a_row_relates_the_time_to_the_floor():
    timer = FixedTimer(2e-4)
    w = SMALL[0]
    row = speed.row_of(context_of(timer=timer), w, "generic", speed.buffers_for(w, "cpu", 1), bandwidth=1e9)
    assert row["us"] == 200
    assert row["floor_us"] == pytest.approx(w.compulsory_bytes / 1e3, abs=0.01)
    assert row["floor_ratio"] == pytest.approx(w.compulsory_bytes / 1e9 / 2e-4, abs=1e-3)
    assert timer.rounds == [2]  # both sets of buffers, in turn


def test_first_look_compares_numbers_and_predictions(tmp_path: Path):
    rows = [{"workload": SMALL[0].name, "tactic": "generic", "predicted_us": [1.0, 2.0]}]
    report = {"batch": 2, "dtype": "float16", "architectures": [{"compute_capability": 90, "launches": rows}]}
    (tmp_path / "prediction.json").write_text(json.dumps(report))
    result = speed.first_look(context_of(docs=tmp_path), SMALL)
    assert result.problems == []
    found = {(row["workload"], row["tactic"]): row for row in result.figures["rows"]}
    assert {tactic for _, tactic in found} >= {"generic", "tensor_core"}
    assert found[SMALL[0].name, "generic"]["predicted_us"] == [1.0, 2.0]
    assert found[SMALL[1].name, "generic"]["predicted_us"] is None
    assert all(row["right"] and 0 < row["error"] < row["limit"] for row in found.values())


def test_first_look_fails_on_wrong_numbers():
    class Wrong:
        def __getattr__(self, name):
            return getattr(emulated_op(), name)

        def launch_packed(self, attention, tactic, qkv, rpb, output):
            emulated_op().launch_packed(attention, tactic, qkv, rpb, output)
            output[-1, -1, -1, -1] = torch.nan  # one element of the last image

    result = speed.first_look(context_of(Wrong()), SMALL[:1])
    assert result.verdict == "failed"
    assert all("exceeds" in problem for problem in result.problems)
    assert len(result.problems) == len(result.figures["rows"])


def row(workload: str, tactic: str, us: float, floor: float = 60.0) -> dict:
    return {"workload": workload, "tactic": tactic, "us": us, "floor_us": floor, "batch": 128, "dtype": "float16"}


def good_rows() -> list[dict]:
    names = ("nat_mini stage 1", "nat_mini stage 2", "dinat_mini stage 1, dilation 8")
    return [r for name in names for r in (row(name, "whole_map", 100), row(name, "flex attention", 300))]


def test_goals_are_met():
    assert speed.missed_goals(good_rows()) == []
    slower_tactic_beside = [*good_rows(), row("nat_mini stage 1", "generic", 900)]
    assert speed.missed_goals(slower_tactic_beside) == []
    other_rows = [
        {**row("nat_mini stage 1", "generic", 1.0), "dtype": "float32"},
        {**row("x", "generic", 1.0), "batch": 8},
    ]
    assert speed.missed_goals([*good_rows(), *other_rows]) == []


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"index": 0, "us": 125}, "nat_mini stage 1: 48% of the memory floor"),
        ({"index": 2, "us": 121}, "nat_mini stage 2: 50% of the memory floor"),
        ({"index": 4, "us": 111}, "1.11 times nat_mini stage 1"),
        ({"index": 3, "us": 199}, "nat_mini stage 2: flex attention takes 1.99 times ours"),
        ({"index": 1, "us": None}, "nat_mini stage 1: flex attention has no time"),
        ({"index": 0, "us": None}, "nat_mini stage 1: 0% of the memory floor"),
    ],
)
def test_a_missed_goal_is_named(change: dict, missed: str):
    rows = good_rows()
    rows[change["index"]]["us"] = change["us"]
    found = speed.missed_goals(rows)
    assert len([problem for problem in found if missed in problem]) == 1


def test_nothing_measured_meets_no_goal():
    assert len(speed.missed_goals([])) == 2


def test_the_step_times_dtypes_batches_and_baselines():
    result = speed.check_times(context_of(), SMALL, compile_flex=False)
    rows = result.figures["rows"]
    ours = {(r["batch"], r["dtype"]) for r in rows if r["tactic"] == "generic"}
    assert ours == {(2, "float16"), (1, "float16"), (8, "float16"), (2, "bfloat16"), (2, "float32")}
    theirs = [r for r in rows if "attention" in r["tactic"]]
    assert len(theirs) == 4 and all(r["us"] == 100 and r["difference"] < 0.02 for r in theirs)
    assert any("flex attention takes 1.00 times ours" in problem for problem in result.problems)


def test_baselines_are_left_out_with_a_note_where_time_is_short():
    result = speed.check_times(context_of(budget=-1.0), SMALL[:1], compile_flex=False)
    assert len(result.figures["notes"]) == 2
    assert any("no time to compare with" in problem for problem in result.problems)


def test_a_baseline_that_fails_is_a_note():
    def make(w, rpb):
        raise RuntimeError("no such kernel")

    w = SMALL[0]
    found = speed._baseline_row(context_of(), w, "flex attention", make, speed.buffers_for(w, "cpu", 1), 1e9)
    assert found["us"] is None and "no such kernel" in found["note"]


def test_workloads_are_what_the_library_computes():
    attention = speed.attention_of(SMALL[1])
    assert attention.neighborhood == Case((9, 8), (3, 3), (2, 2), head_dim=32).neighborhood
    assert attention.shape == (2, 9, 8, 2, 32)
    assert set(speed.usable_tactics(context_of(), SMALL[0])) >= {"generic", "tensor_core"}
    assert set(speed.usable_tactics(context_of(), replace(SMALL[0], dtype="float32"))) == {"generic"}
