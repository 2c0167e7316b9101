"""``verify``: run both sides on the same inputs and compare everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from natdeploy.errors import NatdeployError
from natdeploy.runners.protocol import Array, Runner
from natdeploy.verification.comparison import Comparison, compare
from natdeploy.verification.report import VerifyReport
from natdeploy.verification.tolerances import tolerance_for

Inputs = Mapping[str, Array]


def verify(
    reference: Runner,
    candidate: Runner,
    batches: Sequence[Inputs],
    *,
    tolerance: float | None = None,
    layers: bool = False,
    inputs_from: str = "seeded noise",
    recorded: list[dict[str, Array]] | None = None,
) -> VerifyReport:
    """Compare two runners on the same inputs.

    Args:
        reference: What is right.
        candidate: What is to be verified.
        batches: Inputs by name, batch by batch; results are compared as if they were one batch.
        tolerance: Largest error as a share of an output's standard deviation; the precision's own where None.
        layers: Compare the inner tensors that both sides know, too.
        inputs_from: What to call the inputs in the report.
        recorded: Takes the reference's outputs, batch by batch, for a caller who keeps them.

    Returns:
        The report.

    Raises:
        NatdeployError: If a side cannot run these inputs, or there are none.
    """
    if not batches:
        raise NatdeployError("there are no inputs to verify with")
    probes = [name for name in reference.probes if name in set(candidate.probes)] if layers else []
    pairs = []
    for inputs in batches:
        wanted = reference.run(inputs, probes)
        if recorded is not None:
            recorded.append(wanted)
        pairs.append((wanted, candidate.run(inputs, probes)))
    limit = tolerance_for("float32") if tolerance is None else tolerance
    expected = [spec.name for spec in reference.outputs]
    outputs = [*_comparisons(expected, pairs, limit), *_unexpected(expected, candidate, limit)]
    shapes = " + ".join("x".join(map(str, batch["pixel_values"].shape)) for batch in batches)
    return VerifyReport(
        reference=reference.name,
        candidate=candidate.name,
        inputs=f"{inputs_from} {shapes}",
        outputs=tuple(outputs),
        layers=tuple(_comparisons(probes, pairs, limit)),
        environments={"reference": reference.environment(), "candidate": candidate.environment()},
    )


def _comparisons(
    names: Iterable[str], pairs: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]], tolerance: float
) -> list[Comparison]:
    found = []
    for name in names:
        wanted = _joined([reference[name] for reference, _ in pairs])
        arrays = [candidate.get(name) for _, candidate in pairs]
        got = None if any(array is None for array in arrays) else _joined([a for a in arrays if a is not None])
        found.append(compare(name, wanted, got, tolerance))
    return found


def _unexpected(expected: Sequence[str], candidate: Runner, tolerance: float) -> list[Comparison]:
    return [
        Comparison(spec.name, (), tolerance, failure="unexpected: the reference does not give this output")
        for spec in candidate.outputs
        if spec.name not in expected
    ]


def _joined(arrays: Sequence[Array]) -> Array:
    """Join along the batch; batches of different image sizes are joined as flat rows."""
    if len(arrays) == 1:
        return arrays[0]
    if len({array.shape[1:] for array in arrays}) > 1:
        arrays = [array.reshape(-1) for array in arrays]
    return np.concatenate(arrays)
