"""The reference that verification compares with: our own PyTorch model, in float64 unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from natdeploy.models.outputs import checked_outputs
from natdeploy.runners.protocol import Array, SizeLimits, TensorSpec, check_inputs, check_probes

if TYPE_CHECKING:
    from natdeploy.checkpoints import Checkpoint


class TorchRunner:
    """Runs a checkpoint in PyTorch (see :class:`natdeploy.runners.protocol.Runner`).

    Args:
        checkpoint: What to run.
        outputs: Names of the outputs; the default ones where empty.
        dtype: ``float64`` (the reference), or ``float32``.

    Raises:
        NatdeployError: If the checkpoint cannot give one of the outputs, or its tensors do not fit.
    """

    def __init__(self, checkpoint: Checkpoint, outputs: Sequence[str] = (), dtype: str = "float64") -> None:
        import torch

        from natdeploy.models import model_from_weights
        from natdeploy.models.probes import Recorder

        config = checkpoint.config
        names = checked_outputs(config, outputs)
        self._model = model_from_weights(config, checkpoint.tensors).to(getattr(torch, dtype))
        self.name = f"PyTorch {torch.__version__.split('+')[0]} {dtype}"
        fixed = config.image_size if config.layout == "isotropic" else None
        shape = ("batch", config.num_channels, fixed or "height", fixed or "width")
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("pixel_values", "float32", shape),)
        self.outputs: tuple[TensorSpec, ...] = tuple(TensorSpec(name, dtype, ()) for name in names)
        self.size_limits = SizeLimits((fixed, fixed), (fixed, fixed)) if fixed else None
        recorder, edge = Recorder(), config.image_size
        with torch.device("meta"):
            skeleton = type(self._model)(config)
            skeleton(torch.empty(1, config.num_channels, edge, edge), names, recorder)
        self.probes = tuple(recorder.tensors)

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Compute all outputs and the probes asked for."""
        import torch

        from natdeploy.models.probes import Recorder

        check_inputs(self, inputs, ("float64",))
        check_probes(self, probes)
        recorder = Recorder(frozenset(probes))
        pixels = torch.from_numpy(inputs["pixel_values"]).to(next(self._model.parameters()).dtype)
        with torch.inference_mode():
            found = self._model(pixels, [spec.name for spec in self.outputs], recorder)
        return {name: tensor.numpy() for name, tensor in {**recorder.tensors, **found}.items()}

    def environment(self) -> dict[str, str]:
        """Versions and device."""
        import torch

        return {"torch": torch.__version__, "device": "cpu", "threads": str(torch.get_num_threads())}
