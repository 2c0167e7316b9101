"""Time per call on a GPU: captured graphs, replayed, over more memory than the caches hold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

REPLAYS = 25
SMALLEST_GRAPH_US = 200.0  # a graph takes at least so long, so that the events' resolution (0.5 us) does not matter


class Timer(Protocol):
    """Measures the calls of one round, all of them in turn; tests give their own."""

    def seconds_per_call(self, calls: Sequence[Callable[[], None]]) -> float:
        """Give the median time of one call."""
        ...


class CudaTimer:
    """Captures the calls in one graph and replays it; calls that cannot be captured are timed as they are."""

    def seconds_per_call(self, calls: Sequence[Callable[[], None]]) -> float:
        """Give the median over REPLAYS of the time of all calls, divided by their number."""
        for call in calls:  # compiles, loads modules, sets attributes
            call()
        torch.cuda.synchronize()
        once = self._median(lambda: [call() for call in calls], 3)
        rounds = max(1, int(SMALLEST_GRAPH_US / max(1e6 * once, 1.0)))
        try:
            replay = self._captured(calls, rounds)
        except RuntimeError:  # not capturable
            torch.cuda.synchronize()
            return self._median(lambda: [call() for call in calls], REPLAYS) / len(calls)
        return self._median(replay, REPLAYS) / (rounds * len(calls))

    def _captured(self, calls: Sequence[Callable[[], None]], rounds: int) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(rounds):
                for call in calls:
                    call()
        graph.replay()
        return graph.replay

    def _median(self, run: Callable[[], object], repetitions: int) -> float:
        times = []
        for _ in range(repetitions):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(times)


def buffer_sets(bytes_per_set: int, cache_bytes: int, most: int = 32) -> int:
    """How many sets of buffers to take in turn, so that none is in the cache when its turn comes again."""
    return max(2, min(most, -(-4 * cache_bytes // max(1, bytes_per_set))))


def copy_bandwidth(timer: Timer, device: str, size: int = 1 << 30) -> float:
    """Measure bytes per second that a plain copy reads and writes together.

    Args:
        timer: Measures.
        device: ``cuda``.
        size: Bytes copied.
    """
    source = torch.arange(size // 8, device=device)
    target = torch.empty_like(source)
    return 2 * size / timer.seconds_per_call([lambda: target.copy_(source)])
