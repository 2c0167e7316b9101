"""``verify``: run both sides on the same inputs and compare everything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from natdeploy.errors import NatdeployError
from natdeploy.runners.protocol import Array, Runner
from natdeploy.verification.comparison import Comparison, Tally
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
    limit = tolerance_for("float32") if tolerance is None else tolerance
    probes = [name for name in reference.probes if name in set(candidate.probes)] if layers else []
    expected = [spec.name for spec in reference.outputs]
    tallies = {name: Tally(name, limit, output_dtype) for name in expected}
    inner = {name: Tally(name, limit) for name in probes}
    shapes = []
    for inputs in each(batches):
        wanted, got = reference.run(inputs, probes), candidate.run(inputs, probes)
        for name, tally in (*tallies.items(), *inner.items()):
            tally.add(wanted[name], got.get(name))
        shapes.append("x".join(map(str, inputs["pixel_values"].shape)))
        if recorded is not None:
            recorded.append(wanted)
    return VerifyReport(
        reference=reference.name,
        candidate=candidate.name,
        inputs=f"{inputs_from} {_counted(shapes)}",
        outputs=_outputs(tallies, candidate, limit),
        layers=tuple(tally.comparison() for tally in inner.values()),
        environments={"reference": reference.environment(), "candidate": candidate.environment()},
        notes=_unknown_layers(reference, set(probes) | set(expected)) if layers else (),
    )


def _outputs(tallies: Mapping[str, Tally], candidate: Runner, tolerance: float) -> tuple[Comparison, ...]:
    """Give the verdicts on the reference's outputs, and on those that only the candidate has."""
    given, expected = [spec.name for spec in candidate.outputs], list(tallies)
    failure = "unexpected: the reference does not give this output"
    return (
        *(_in_place(tally.comparison(), expected, given) for tally in tallies.values()),
        *(Comparison(name, (), tolerance, failure=failure) for name in given if name not in expected),
    )


def _unknown_layers(reference: Runner, compared: set[str]) -> tuple[str, ...]:
    if unknown := set(reference.probes) - compared:
        return (f"{len(unknown)} of the reference's {len(reference.probes)} inner tensors are not in the file",)
    return ()


def _counted(shapes: Sequence[str]) -> str:
    """Name the shapes of all batches; many equal ones in a row once, with their number."""
    runs = [(shape, len(list(equal))) for shape, equal in itertools.groupby(shapes)]
    return " + ".join(shape if count == 1 else f"{count} of {shape}" for shape, count in runs)


def _in_place(comparison: Comparison, expected: Sequence[str], given: Sequence[str]) -> Comparison:
    """Let an output fail that is right but stands elsewhere: runtimes also take outputs by their number."""
    common = [name for name in expected if name in given]
    wanted = common.index(comparison.name) if comparison.name in common else 0
    got = [name for name in given if name in common].index(comparison.name) if comparison.name in common else 0
    if comparison.agrees and wanted != got:
        return replace(comparison, failure=f"order: it is output {got + 1} instead of {wanted + 1}")
    return comparison
