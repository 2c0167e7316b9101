"""Which shapes an engine is built for: from what the file allows, or as the user says; problems all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from natdeploy.errors import NatdeployError
from natdeploy.input_format import INPUT_FORMATS
from natdeploy.onnx_files.metadata import Metadata

BATCHES = (1, 1, 8)  # where the file leaves the batch free; tuned for one image, which is what robots and cameras send

Dims = Sequence[int | str]  # a name where the dimension is free


@dataclass(frozen=True)
class Points:
    """Shapes of one input: the smallest, the one that the engine is tuned for, and the largest."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    def __str__(self) -> str:
        """Write it as ``--shapes`` takes it."""
        return ",".join("x".join(map(str, shape)) for shape in (self.min, self.opt, self.max))


def profile_of(
    inputs: Mapping[str, Dims], asked: Mapping[str, Points], metadata: Metadata | None, source: str
) -> dict[str, Points]:
    """Give the optimisation profile: the shapes of every input that has free dimensions.

    Args:
        inputs: Shapes by name, as the file has them.
        asked: What the user wants, by name; the empty name stands for the only input.
        metadata: What the file says of itself; None where natdeploy did not write it.
        source: What to call the file in errors.

    Raises:
        NatdeployError: If an unknown input is named, shapes do not fit the file or each other, or are missing.
    """
    problems: list[str] = []
    named: dict[str, Points] = {}
    for name, points in asked.items():
        wanted = next(iter(inputs)) if name == "" and len(inputs) == 1 else name
        if wanted not in inputs:
            problems.append(f"no input is called '{wanted}'" if wanted else "the file has several inputs: name one")
        else:
            named[wanted] = points
            problems += [f"{wanted}: {problem}" for problem in _problems(points, inputs[wanted], metadata)]
    if problems:
        raise NatdeployError(
            f"these shapes do not fit '{source}'",
            got="; ".join(problems),
            needed="; ".join(f"{name} {_dims(dims)}{_allowed(metadata)}" for name, dims in inputs.items()),
        )
    free = {name: dims for name, dims in inputs.items() if not all(isinstance(dim, int) for dim in dims)}
    profile = {name: named.get(name) or _default(dims, metadata) for name, dims in free.items()}
    if unknown := [name for name, points in profile.items() if points is None]:
        raise NatdeployError(
            f"'{source}' leaves sizes free and does not say which it accepts",
            got="; ".join(f"{name} {_dims(free[name])}" for name in unknown),
            next_step="Say for which shapes to build: " + " ".join(f"--shapes {name}=MIN,OPT,MAX" for name in unknown),
        )
    return {name: points for name, points in profile.items() if points is not None}


def _default(dims: Dims, metadata: Metadata | None) -> Points | None:
    """Give all image sizes that the file allows, tuned for the size of its preprocessing."""
    if metadata is None or len(dims) != 4:
        return None
    limits, input_format = metadata.size_limits, INPUT_FORMATS[metadata.preprocessing.input_format]
    edges = (limits.minimum, limits.nearest(metadata.preprocessing.crop_size), limits.maximum)
    shapes = []
    for batch, (height, width) in zip(BATCHES, edges, strict=True):
        sizes = input_format.shape(batch, None, height, width)
        shape = [dim if isinstance(dim, int) else size for dim, size in zip(dims, sizes, strict=True)]
        if None in shape:
            return None
        shapes.append(tuple(size for size in shape if size is not None))
    return Points(*shapes)


def _problems(points: Points, dims: Dims, metadata: Metadata | None) -> list[str]:
    shapes = {"MIN": points.min, "OPT": points.opt, "MAX": points.max}
    problems = []
    for name, shape in shapes.items():
        text = "x".join(map(str, shape))
        if len(shape) != len(dims):
            problems.append(f"{name} {text} has {len(shape)} dimensions, not {len(dims)}")
        elif any(isinstance(dim, int) and dim != size for dim, size in zip(dims, shape, strict=True)):
            problems.append(f"{name} {text} differs where the file's size is fixed")
        elif metadata is not None and len(shape) == 4 and (problem := _outside(shape, metadata)):
            problems.append(f"{name} {text} is outside of what the file accepts: {problem}")
    if problems:
        return problems
    for axis, (low, best, high) in enumerate(zip(*shapes.values(), strict=True)):
        if not 1 <= low <= best <= high:
            problems.append(f"dimension {axis} goes from {low} over {best} to {high}: MIN ≤ OPT ≤ MAX, from 1 on")
    return problems


def _outside(shape: Sequence[int], metadata: Metadata) -> str | None:
    try:
        metadata.size_limits.check(shape, "it")
    except NatdeployError as error:
        return error.needed
    return None


def _dims(dims: Dims) -> str:
    return f"[{', '.join(map(str, dims))}]"


def _allowed(metadata: Metadata | None) -> str:
    return f", images of {metadata.size_limits}" if metadata is not None else ""
