"""What verification found, as data; the command line prints it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from natdeploy.verification.comparison import Comparison, passing


@dataclass(frozen=True)
class VerifyReport:
    """Result of :func:`natdeploy.verify`.

    Args:
        reference: Name of the reference.
        candidate: Name of what was verified.
        inputs: Where the inputs came from, and their shape.
        outputs: One comparison per output.
        layers: One comparison per inner tensor, in graph order; empty unless asked for.
        environments: Versions and devices of both sides.
        notes: What a reader should know, but what decides nothing.
        checkpoint_is_the_exported_one: Whether the reference's weights are those that the candidate says it was made
            from; None where one side does not say.
    """

    reference: str
    candidate: str
    inputs: str
    outputs: tuple[Comparison, ...]
    layers: tuple[Comparison, ...] = ()
    environments: Mapping[str, Mapping[str, str]] | None = None
    notes: tuple[str, ...] = ()
    checkpoint_is_the_exported_one: bool | None = None

    @property
    def agrees(self) -> bool:
        """Whether every output agrees (layers inform, outputs decide)."""
        return bool(self.outputs) and all(output.agrees for output in self.outputs)

    @property
    def first_drifting_layer(self) -> Comparison | None:
        """Give the first inner tensor that disagrees, in graph order."""
        return next((layer for layer in self.layers if not layer.agrees), None)

    @property
    def passing_tolerance(self) -> float | None:
        """Give the tolerance that all outputs would have passed; None if they did, or if none would do."""
        failed = [output for output in self.outputs if not output.agrees]
        if not failed or any(output.verdict != "numbers" for output in failed):
            return None
        return passing(max(output.error for output in failed))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; infinite and NaN figures become strings."""
        first = self.first_drifting_layer
        document = {
            "agrees": self.agrees,
            "reference": self.reference,
            "candidate": self.candidate,
            "inputs": self.inputs,
            "outputs": [asdict(output) for output in self.outputs],
            "layers": [asdict(layer) for layer in self.layers],
            "first_drifting_layer": first.name if first else None,
            "passing_tolerance": self.passing_tolerance,
            "notes": list(self.notes),
            "checkpoint_is_the_exported_one": self.checkpoint_is_the_exported_one,
            "environments": {k: dict(v) for k, v in (self.environments or {}).items()},
        }
        finite: dict[str, Any] = _finite(document)
        return finite


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
