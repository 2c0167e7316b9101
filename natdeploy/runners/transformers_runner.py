"""The reference that other people wrote: Hugging Face's own NAT and DiNAT code, through natdeploy.compat."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.errors import MissingDependencyError, NatdeployError
from natdeploy.models.outputs import checked_outputs
from natdeploy.runners.protocol import Array, SizeLimits, TensorSpec, check_inputs, check_probes

if TYPE_CHECKING:
    from torch import Tensor

    from natdeploy.models.config import ModelConfig

# Its forward pass unpacks or transposes the wrong axes of the map: seen with 4.54.1, 4.55.4, 4.56.2, 4.57.6 and
# 5.23.0, right in 4.40.2, 4.48.3 and 4.53.3. docs/compat.md lists what was tried.
_FIRST_BROKEN_DINAT = (4, 54)


class TransformersRunner:
    """Runs a Hugging Face directory in Hugging Face's code (see :class:`natdeploy.runners.protocol.Runner`).

    Args:
        directory: Holds ``config.json`` with ``model_type`` ``nat`` or ``dinat``, and the weights.
        outputs: Names of the outputs; the default ones where empty.
        dtype: ``float64``, or ``float32``.

    Raises:
        NatdeployError: If this is no such directory, its tensors do not fit, it cannot give one of the outputs, or
            the installed transformers does not run the model.
    """

    def __init__(self, directory: str | Path, outputs: Sequence[str] = (), dtype: str = "float64") -> None:
        path = _checked_directory(directory)
        transformers = _transformers()
        import torch

        from natdeploy.checkpoints import weights_from_checkpoint
        from natdeploy.models import model_from_weights

        checkpoint = weights_from_checkpoint(path)
        model_from_weights(checkpoint.config, checkpoint.tensors)  # raises sentences where transformers only warns
        names = checked_outputs(checkpoint.config, outputs)
        architecture = _architecture(path, checkpoint.config)
        self._model = _loaded(transformers, architecture, path).to(getattr(torch, dtype))
        self._is_backbone = architecture.endswith("Backbone")
        self._wants_hidden = any("hidden_states." in name for name in names)
        self.name = f"transformers {transformers.__version__} {architecture} {dtype}"
        shape = ("batch", checkpoint.config.num_channels, "height", "width")
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("pixel_values", "float32", shape),)
        self.outputs: tuple[TensorSpec, ...] = tuple(TensorSpec(name, dtype, ()) for name in names)
        self.probes: tuple[str, ...] = ()
        self.size_limits: SizeLimits | None = None

    def run(self, inputs: Mapping[str, Array], probes: Sequence[str] = ()) -> dict[str, Array]:
        """Compute all outputs."""
        import torch

        check_inputs(self, inputs, ("float64",))
        check_probes(self, probes)
        pixels = torch.from_numpy(inputs["pixel_values"]).to(next(self._model.parameters()).dtype)
        with torch.inference_mode():
            found = self._backbone_outputs(pixels) if self._is_backbone else self._model_outputs(pixels)
        return {spec.name: found[spec.name].numpy() for spec in self.outputs}

    def environment(self) -> dict[str, str]:
        """Versions and device."""
        import torch
        import transformers

        from natdeploy.compat import natten_has_the_functions

        return {
            "transformers": transformers.__version__,
            "natten": "installed" if natten_has_the_functions() else "natdeploy.compat",
            "torch": torch.__version__,
            "device": "cpu",
            "threads": str(torch.get_num_threads()),
        }

    def _model_outputs(self, pixels: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}

        def keep_pooled(pooler: object, arguments: object, pooled: Tensor) -> None:
            found["pooled"] = pooled.flatten(1)

        hook = self._model.base_model.pooler.register_forward_hook(keep_pooled)
        try:
            result = self._model(pixels, output_hidden_states=self._wants_hidden)
        finally:
            hook.remove()
        if "logits" in result:
            found["logits"] = result.logits
        return found | (_hidden_states(result) if self._wants_hidden else {})

    def _backbone_outputs(self, pixels: Tensor) -> dict[str, Tensor]:
        maps = self._model(pixels).feature_maps
        stages = [stage for stage in self._model.stage_names if stage in self._model.out_features]
        found = {f"feature_maps.{stage}": x for stage, x in zip(stages, maps, strict=True)}
        if self._wants_hidden:  # a backbone's own hidden states are those before downsampling; its encoder gives both
            embedded = self._model.embeddings(pixels)
            found |= _hidden_states(self._model.encoder(embedded, output_hidden_states=True))
        return found


def _hidden_states(result: Any) -> dict[str, Tensor]:
    found = {f"hidden_states.{i}": x for i, x in enumerate(result.hidden_states)}
    return found | {f"reshaped_hidden_states.{i}": x for i, x in enumerate(result.reshaped_hidden_states)}


def _checked_directory(directory: str | Path) -> Path:
    from natdeploy.checkpoints.files import read_json
    from natdeploy.checkpoints.huggingface import MODEL_TYPES

    path = Path(directory)
    got = None
    if str(directory).startswith("random:"):
        got = f"'{directory}', which has no files"
    elif path.is_file():
        got = f"'{path}', a file"
    elif path.is_dir() and (path / "config.json").exists():
        model_type = read_json(path / "config.json").get("model_type")
        if model_type in MODEL_TYPES:
            return path
        got = f"'{path}', whose model_type is {model_type!r}"
    raise NatdeployError(
        "only Hugging Face directories can be run in Hugging Face's code",
        got=got or f"'{path}', which is no directory with a config.json",
        needed=f"a directory (or hub id) whose config.json has model_type {' or '.join(repr(t) for t in MODEL_TYPES)}",
        next_step="Verify other checkpoints with --reference torch",
    )


def _transformers() -> Any:
    """Import transformers, behind the stand-in for natten where the machine needs one."""
    from natdeploy.compat import install, natten_has_the_functions

    try:
        import torch as torch
    except ImportError as error:
        raise MissingDependencyError("torch", "running Hugging Face's code", "transformers") from error
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError("transformers", "running Hugging Face's code", "transformers") from error
    if not natten_has_the_functions():
        install()
    return transformers


def _architecture(directory: Path, config: ModelConfig) -> str:
    """Name of the class: the first of ``architectures`` that is known here, else what the weights speak for."""
    from natdeploy.checkpoints.files import read_json

    prefix = config.family.capitalize()
    known = [prefix + kind for kind in ("ForImageClassification", "Backbone", "Model")]
    for name in read_json(directory / "config.json").get("architectures") or ():
        if name in known:
            return str(name)
    classifier, backbone, bare = known
    return classifier if config.num_labels else backbone if config.feature_norms else bare


def _loaded(transformers: Any, architecture: str, directory: Path) -> Any:
    """Give the model in eval mode.

    Raises:
        NatdeployError: If this transformers has no such class or a broken one, or cannot read the weights.
    """
    version = str(transformers.__version__)
    release = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    why_not = None
    if not hasattr(transformers, architecture):
        why_not = f"it has no {architecture} any more"
    elif architecture.startswith("Dinat") and release >= _FIRST_BROKEN_DINAT:
        why_not = "its DiNAT code cannot run: it mixes up the map's axes since 4.54"
    if why_not:
        raise NatdeployError(
            f"transformers {version} cannot be the reference for this checkpoint",
            got=why_not,
            needed="transformers 4.40 to 4.53",
            next_step="Install one with: pip install 'natdeploy[transformers]'",
        )
    try:
        model, problems = getattr(transformers, architecture).from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, AttributeError) as error:  # the last: safetensors without metadata
        raise NatdeployError(
            f"transformers {version} cannot load '{directory}' as {architecture}",
            got=str(error).strip().splitlines()[0][:300],
        ) from error
    found = [f"{kind}: {', '.join(map(str, names))}" for kind, names in sorted(problems.items()) if names]
    if found:  # it would have filled in random numbers, and gone on
        raise NatdeployError(f"the tensors of '{directory}' do not fit {architecture}", got="; ".join(found))
    return model.eval()
