"""The CUDA-graph check and the clock, with pretended graphs and events: launches are kept, and run on replay."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from scripts.emulated_op import emulated_op
from side_environments import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_checks import graphs, steps, timing
from kernel_model.workloads import Workload

STAGES = (Workload("a layer", 6, 5, heads=1, kernel_size=3, batch=9),)


class PretendedGraph:
    """Keeps launches while it is captured."""

    current = None

    def __init__(self):
        self.launches = []

    def replay(self):
        for launch in self.launches:
            launch()


@contextmanager
def capturing(graph):
    PretendedGraph.current = graph
    yield
    PretendedGraph.current = None


class CapturableOp:
    """The library; a launch under capture is kept for the replay."""

    def __getattr__(self, name):
        return getattr(emulated_op(), name)

    def launch_packed(self, *arguments):
        if PretendedGraph.current is None:
            emulated_op().launch_packed(*arguments)
        else:
            PretendedGraph.current.launches.append(lambda: emulated_op().launch_packed(*arguments))


class RunsAtOnce(CapturableOp):
    def launch_packed(self, *arguments):
        emulated_op().launch_packed(*arguments)


class KeepsOldInputs(CapturableOp):
    """As if a kernel had copied its inputs when it was captured."""

    def launch_packed(self, attention, tactic, qkv, rpb, output):
        inputs = qkv.clone() if PretendedGraph.current else qkv
        super().launch_packed(attention, tactic, inputs, rpb, output)


class Allocates(CapturableOp):
    def launch_packed(self, *arguments):
        if PretendedGraph.current:
            raise RuntimeError("operation not permitted when stream is capturing")
        super().launch_packed(*arguments)


class LeavesSomeOut(CapturableOp):
    def launch_packed(self, attention, tactic, qkv, rpb, output):
        super().launch_packed(attention, tactic, qkv, rpb, output)
        if PretendedGraph.current:
            PretendedGraph.current.launches.append(lambda: output[-1].fill_(torch.nan))


@pytest.fixture(autouse=True)
def pretended_cuda(monkeypatch):
    monkeypatch.setattr(graphs, "STAGES", STAGES)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", PretendedGraph)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def check(op):
    return graphs.check_graphs(steps.Context(op, "cpu", 90, None, say=lambda text: None))


def test_capturable_launches_pass():
    result = check(CapturableOp())
    assert result.problems == [] and result.figures["captured"] >= 2


@pytest.mark.parametrize(
    ("op", "problem"),
    [
        (RunsAtOnce(), "ran while it was captured"),
        (KeepsOldInputs(), "a replay differs"),
        (Allocates(), "cannot be captured: operation not permitted"),
        (LeavesSomeOut(), "a replay differs"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_breaks_a_capture_is_named(op, problem: str):
    result = check(op)
    assert result.problems and all(problem in found for found in result.problems)


class PretendedEvents:
    """A clock of its own: every call of ``work`` takes 30 microseconds."""

    def __init__(self):
        self.now_ms, self.calls = 0.0, 0

    def work(self):
        if PretendedGraph.current is not None:
            PretendedGraph.current.launches.append(self.work)
            return
        self.calls += 1
        self.now_ms += 0.03

    def event(self, enable_timing: bool):
        class Event(SimpleNamespace):
            def elapsed_time(self, end):
                return end.at - self.at

        made = Event(synchronize=lambda: None)
        made.record = lambda: setattr(made, "at", self.now_ms)
        return made


def test_the_clock_divides_by_calls_and_rounds(monkeypatch):
    clock = PretendedEvents()
    monkeypatch.setattr(torch.cuda, "Event", clock.event)
    assert timing.CudaTimer().seconds_per_call([clock.work] * 2) == pytest.approx(30e-6)
    # once to warm up, three times to estimate, then replays of graphs of 3 rounds (3 * 2 * 30 us is about 200 us)
    assert clock.calls == 2 + 3 * 2 + (1 + timing.REPLAYS) * 3 * 2


def test_what_cannot_be_captured_is_timed_as_it_is(monkeypatch):
    clock = PretendedEvents()
    monkeypatch.setattr(torch.cuda, "Event", clock.event)

    def work():
        if PretendedGraph.current is not None:
            PretendedGraph.current = None
            raise RuntimeError("not capturable")
        clock.work()

    assert timing.CudaTimer().seconds_per_call([work]) == pytest.approx(30e-6)
    assert clock.calls == 1 + 3 + timing.REPLAYS
