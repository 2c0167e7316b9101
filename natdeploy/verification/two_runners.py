"""``verify``: run both sides on the same inputs and compare everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

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
    output_dtype: str | None = None,
    each: Callable[[Sequence[Inputs]], Iterable[Inputs]] = iter,
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
        output_dtype: What the candidate's outputs must be; any float where None.
        each: Goes through the batches; a caller may show progress in it.

    Returns:
        The report.

    Raises:
        NatdeployError: If a side cannot run these inputs, or there are none.
    """
    if not batches:
        raise NatdeployError("there are no inputs to verify with")
    probes = [name for name in reference.probes if name in set(candidate.probes)] if layers else []
    pairs = []
    for inputs in each(batches):
        wanted = reference.run(inputs, probes)
        if recorded is not None:
            recorded.append(wanted)
        pairs.append((wanted, candidate.run(inputs, probes)))
    limit = tolerance_for("float32") if tolerance is None else tolerance
    expected = [spec.name for spec in reference.outputs]
    given = [spec.name for spec in candidate.outputs]
    outputs = [_in_place(one, expected, given) for one in _comparisons(expected, pairs, limit, output_dtype)]
    outputs += [
        Comparison(name, (), limit, failure="unexpected: the reference does not give this output")
        for name in given
        if name not in expected
    ]
    notes = []
    if layers and (unknown := set(reference.probes) - set(probes) - set(expected)):
        notes.append(f"{len(unknown)} of the reference's {len(reference.probes)} inner tensors are not in the file")
    shapes = " + ".join("x".join(map(str, batch["pixel_values"].shape)) for batch in batches)
    return VerifyReport(
        reference=reference.name,
        candidate=candidate.name,
        inputs=f"{inputs_from} {shapes}",
        outputs=tuple(outputs),
        layers=tuple(_comparisons(probes, pairs, limit)),
        environments={"reference": reference.environment(), "candidate": candidate.environment()},
        notes=tuple(notes),
    )


def _comparisons(
    names: Iterable[str],
    pairs: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]],
    tolerance: float,
    dtype: str | None = None,
) -> list[Comparison]:
    found = []
    for name in names:
        sides = [(reference[name], candidate.get(name)) for reference, candidate in pairs]
        # What is wrong with a single batch is said of it alone: joining could hide it.
        odd = next((side for side in sides if side[1] is None or side[1].shape != side[0].shape), None)
        wanted, got = odd or (_joined([w for w, _ in sides]), _joined([g for _, g in sides if g is not None]))
        found.append(compare(name, wanted, got, tolerance, dtype))
    return found


def _in_place(comparison: Comparison, expected: Sequence[str], given: Sequence[str]) -> Comparison:
    """Let an output fail that is right but stands elsewhere: runtimes also take outputs by their number."""
    common = [name for name in expected if name in given]
    wanted = common.index(comparison.name) if comparison.name in common else 0
    got = [name for name in given if name in common].index(comparison.name) if comparison.name in common else 0
    if comparison.agrees and wanted != got:
        return replace(comparison, failure=f"order: it is output {got + 1} instead of {wanted + 1}")
    return comparison


def _joined(arrays: Sequence[Array]) -> Array:
    """Join along the batch; batches of different image sizes are joined as flat rows."""
    if len(arrays) == 1:
        return arrays[0]
    if len({array.shape[1:] for array in arrays}) > 1 or not arrays[0].shape:
        arrays = [array.reshape(-1) for array in arrays]
    return np.concatenate(arrays)
