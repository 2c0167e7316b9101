"""``verify_artifact``: from file names to a report; what ``natdeploy verify`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from natdeploy.environment import JOBS, is_installed, require
from natdeploy.errors import ContradictionError, MissingDependencyError, NatdeployError
from natdeploy.onnx_files.files import check_target
from natdeploy.onnx_files.metadata import Metadata
from natdeploy.runners import EngineUse, Runner, is_plan, runner_for_artifact
from natdeploy.runners.normalising_runner import NormalisingRunner
from natdeploy.runners.protocol import Array
from natdeploy.runners.recorded import RecordedRunner, batches_from_npz, record_reference
from natdeploy.verification.inputs import ImageBatches, batches_of_noise, image_paths
from natdeploy.verification.report import VerifyReport
from natdeploy.verification.tolerances import tolerance_for
from natdeploy.verification.two_runners import Inputs, verify

if TYPE_CHECKING:
    from natdeploy.checkpoints import Checkpoint

Batches = Sequence[dict[str, Array]]

OUTPUT_DTYPE = "float32"  # of every file of ours, whatever its inner precision


@dataclass(frozen=True)
class VerifyRequest:
    """What to verify, against what, on which inputs.

    Args:
        artifact: The ONNX file or the plan.
        checkpoint: Reference; one of this and ``against`` is needed.
        variant: For a bare ``.pth`` checkpoint.
        against: ``.npz`` of recorded inputs and outputs.
        images: Directory of images, or one image.
        inputs: ``.npz`` with ``pixel_values``.
        reference: ``torch`` (our model in float64) or ``transformers`` (Hugging Face's code in float64).
        save_reference: Where to record inputs and the reference's outputs.
        tolerance: Share of each output's standard deviation; the precision's own where None.
        layers: Compare inner tensors, too.
        seed: Of the noise.
        cuda_graph: Run a plan as a CUDA graph.
        allow_host_code: Load a plan that brings code for this machine.
    """

    artifact: Path
    checkpoint: str | None = None
    variant: str | None = None
    against: Path | None = None
    images: Path | None = None
    inputs: Path | None = None
    reference: str = "torch"
    save_reference: Path | None = None
    tolerance: float | None = None
    layers: bool = False
    seed: int = 0
    cuda_graph: bool = False
    allow_host_code: bool = False

    @property
    def is_plan(self) -> bool:
        """Whether the artifact is a plan."""
        return is_plan(self.artifact)

    @property
    def reference_has_layers(self) -> bool:
        """Whether the reference knows the inner tensors, as our PyTorch model does."""
        return self.against is None and self.reference == "torch"

    @property
    def engine(self) -> EngineUse:
        """How to run the artifact where it is a plan."""
        return EngineUse(cuda_graph=self.cuda_graph, allow_host_code=self.allow_host_code)


def verify_artifact(
    request: VerifyRequest, each: Callable[[Sequence[Inputs]], Iterable[Inputs]] = iter
) -> VerifyReport:
    """Verify a file.

    Args:
        request: What to verify.
        each: Goes through the batches; a caller may show progress in it.

    Raises:
        ContradictionError: If the request contradicts itself.
        NatdeployError: If the file is none of ours, or a side cannot run.
    """
    _check(request)
    if request.save_reference is not None:
        check_target(request.save_reference, ".npz")
    candidate = runner_for_artifact(request.artifact, request.engine, described=True)
    metadata = candidate.metadata
    if metadata is None:
        raise NatdeployError(
            f"'{request.artifact.name}' was not written by natdeploy: it has no natdeploy metadata, so what it should "
            f"compute is unknown",
            next_step="Make a file with `natdeploy export CHECKPOINT -o model.onnx`",
        )
    reference, sha256 = _reference(request, metadata)
    batches, inputs_from = _inputs(request, reference, metadata)
    # Before the reference runs, which takes longer; images are decoded batch by batch, and all have one size.
    for inputs in batches if isinstance(batches, list) else batches[:1]:
        candidate.check(inputs)
    recorded: list[dict[str, Array]] | None = [] if request.save_reference is not None else None
    report = verify(
        reference,
        candidate,
        batches,
        tolerance=tolerance_for(metadata.precision["weights"]) if request.tolerance is None else request.tolerance,
        layers=request.layers,
        inputs_from=inputs_from,
        recorded=recorded,
        output_dtype=OUTPUT_DTYPE,
        each=each,
    )
    if request.save_reference is not None and recorded:
        names = [spec.name for spec in reference.outputs]  # without the layers
        outputs = [{name: found[name] for name in names} for found in recorded]
        record_reference(request.save_reference, reference, batches, outputs, sha256)
    return _with_provenance(report, metadata, sha256)


def _with_provenance(report: VerifyReport, metadata: Metadata, sha256: str | None) -> VerifyReport:
    """Note whether the reference's weights are those that the file was exported from; the numbers decide."""
    if sha256 is None:
        return report
    same = sha256 == metadata.checkpoint_sha256
    note = (
        f"these are not the weights that the file was exported from ('{metadata.checkpoint_source}', "
        f"sha256 {metadata.checkpoint_sha256[:12]}…; given: sha256 {sha256[:12]}…)"
    )
    notes = report.notes if same else (*report.notes, note)
    return replace(report, notes=notes, checkpoint_is_the_exported_one=same)


def _check(request: VerifyRequest) -> None:
    problems = []
    if (request.checkpoint is None) == (request.against is None):
        problems.append("give either --checkpoint or --against")
    if request.images and request.inputs:
        problems.append("--images and --inputs exclude each other")
    if request.against and (request.images or request.inputs):
        problems.append("--against brings its own inputs: leave --images and --inputs out")
    if request.against and request.reference != "torch":
        problems.append("--against replaces the reference: leave --reference out")
    if request.variant and (request.against or request.reference != "torch"):
        problems.append("--variant is for a bare .pth checkpoint with the torch reference")
    if request.layers and not request.reference_has_layers:
        problems.append("--layers needs the torch reference: only it knows the inner tensors")
    problems += request.engine.problems(request.artifact)
    if request.layers and request.is_plan:
        problems.append("--layers is for ONNX files: a plan gives none of its inner tensors")
    if problems:
        raise ContradictionError("cannot verify with these options", got="; ".join(problems))


def _reference(request: VerifyRequest, metadata: Metadata) -> tuple[Runner, str | None]:
    """Give the reference, and the hash of its weights where it is known."""
    if request.against is not None:
        recorded = RecordedRunner(request.against, metadata.outputs)
        return recorded, recorded.checkpoint_sha256
    reference, checkpoint = _reference_of_checkpoint(request, metadata)
    if metadata.preprocessing.input_format == "uint8-nhwc":  # as the checkpoint says, not as the file believes
        reference = NormalisingRunner(reference, checkpoint.preprocessing)
    return reference, checkpoint.sha256


def _reference_of_checkpoint(request: VerifyRequest, metadata: Metadata) -> tuple[Runner, Checkpoint]:
    assert request.checkpoint is not None
    from natdeploy.checkpoints import weights_from_checkpoint

    if request.reference == "transformers":
        if not is_installed("torch"):  # Hugging Face's code needs torch, but none of the exporter's packages
            raise MissingDependencyError("torch", JOBS["transformers"].purpose, "export")
        require("transformers")
        from natdeploy.checkpoints.load import path_of_checkpoint
        from natdeploy.runners.transformers_runner import TransformersRunner

        directory = path_of_checkpoint(request.checkpoint)
        return TransformersRunner(directory, metadata.outputs), weights_from_checkpoint(directory)
    require("export")
    from natdeploy.runners.torch_runner import TorchRunner

    checkpoint = weights_from_checkpoint(request.checkpoint, request.variant)
    return TorchRunner(checkpoint, metadata.outputs), checkpoint


def _inputs(request: VerifyRequest, reference: Runner, metadata: Metadata) -> tuple[Batches, str]:
    if isinstance(reference, RecordedRunner):
        return reference.recorded_inputs, "recorded inputs"
    if request.inputs is not None:
        batches = batches_from_npz(request.inputs)
        return [{"pixel_values": batch["pixel_values"]} for batch in batches], request.inputs.name
    if request.images is not None:
        paths = image_paths(request.images)
        images = ImageBatches(paths, metadata)  # a recording holds them all: decode them once
        return images if request.save_reference is None else list(images), f"{len(paths)} images"
    return batches_of_noise(metadata, request.seed), "seeded noise"
