"""Probes: names for inner tensors, the same in a torch model and in every ONNX file made from it (docs/design.md §4).

A model's forward takes a probe, a function ``(name, tensor) -> tensor``. Running a model, it does nothing or records;
exporting it, it leaves a marker that becomes the tensor's name. Node names do not survive ONNX Runtime's inlining,
tensor names do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from natdeploy.ops.spec import DOMAIN

Probe = Callable[[str, Tensor], Tensor]


def no_probe(name: str, tensor: Tensor) -> Tensor:
    """Do nothing: the probe of an ordinary run."""
    return tensor


@dataclass
class Recorder:
    """A probe that keeps the tensors whose names are wanted (all of them where ``wanted`` is None)."""

    wanted: frozenset[str] | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """Keep ``tensor`` under ``name`` if it is wanted."""
        if self.wanted is None or name in self.wanted:
            self.tensors[name] = tensor
        return tensor


def mark(name: str, tensor: Tensor) -> Tensor:
    """Leave a marker in an exported graph; ``onnx_files/probes.py`` turns it into the tensor's name."""
    marked: Tensor = torch.ops.natdeploy.probe(tensor, name)
    return marked


@torch.library.custom_op(f"{DOMAIN}::probe", mutates_args=())
def _probe(x: Tensor, name: str) -> Tensor:
    return x.clone()


@_probe.register_fake
def _(x: Tensor, name: str) -> Tensor:
    return torch.empty_like(x)
