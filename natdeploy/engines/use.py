"""How an engine is to be run; of no other artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLAN_SUFFIXES = (".plan", ".engine")


def is_plan(path: str | Path) -> bool:
    """Whether a file's name says that it is a TensorRT plan."""
    return Path(path).suffix in PLAN_SUFFIXES


@dataclass(frozen=True)
class EngineUse:
    """What a user chooses about running a plan.

    Args:
        cuda_graph: Record the work once per set of input shapes, and replay it.
        allow_host_code: Load a plan that brings code for this machine: a plugin library or a TensorRT of its own.
    """

    cuda_graph: bool = False
    allow_host_code: bool = False

    def problems(self, artifact: str | Path) -> list[str]:
        """Say which of these an artifact has no use for."""
        if is_plan(artifact):
            return []
        chosen = {"--cuda-graph": self.cuda_graph, "--allow-host-code": self.allow_host_code}
        return [f"{option} is for plans of TensorRT" for option, given in chosen.items() if given]
