"""natdeploy: Neighborhood Attention Transformers, from checkpoint to any runtime, with proof.

The pipeline, as a sentence::

    checkpoint = weights_from_checkpoint("nat-mini/")  # file -> config + tensors
    model = model_from_weights(checkpoint.config, checkpoint.tensors)  # -> torch.nn.Module
    onnx_from_checkpoint(checkpoint, "model.onnx")  # -> ONNX, attention as one custom op
    engine_from_onnx("model.onnx", "model.plan")  # -> TensorRT plan and its sidecar
    report = verify(reference, candidate, inputs)  # two runners -> do the numbers match?

Importing this package imports nothing heavy; each name below loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from natdeploy.checkpoints import weights_from_checkpoint as weights_from_checkpoint
    from natdeploy.engines.builder import engine_from_onnx as engine_from_onnx
    from natdeploy.models import model_from_weights as model_from_weights
    from natdeploy.onnx_files.export import onnx_from_checkpoint as onnx_from_checkpoint
    from natdeploy.onnx_files.lower import lowered_from_onnx as lowered_from_onnx
    from natdeploy.verification import verify as verify

__version__ = "0.1.0"

_HOMES = {
    "engine_from_onnx": "natdeploy.engines.builder",
    "model_from_weights": "natdeploy.models",
    "onnx_from_checkpoint": "natdeploy.onnx_files.export",
    "lowered_from_onnx": "natdeploy.onnx_files.lower",
    "verify": "natdeploy.verification",
    "weights_from_checkpoint": "natdeploy.checkpoints",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'natdeploy' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
