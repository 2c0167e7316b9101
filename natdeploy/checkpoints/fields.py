"""Typed fields of a ``config.json``: everything wrong with them is collected, then reported in one error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

from natdeploy.errors import NatdeployError

# Beyond these a number is damage, and building a model from it would fill the memory (the largest published values are
# 18 blocks in a stage, 192 channels, and 21841 classes).
_MOST_BLOCKS = 10_000
_LARGEST = 1_000_000

T = TypeVar("T")


class Fields:
    """Reads fields by kind; each wrong one is noted and stands in as a harmless value until :meth:`check`.

    Args:
        document: What ``config.json`` holds.
        defaults: Values of fields that it leaves out.
    """

    def __init__(self, document: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._values = {**defaults, **document}
        self.problems: list[str] = []

    def integer(self, name: str, least: int = 1) -> int:
        """Read an integer of at least ``least``."""
        value = self.value(name)
        if _is_integer(value) and least <= value <= _LARGEST:
            return int(value)
        return self._wrong(name, value, f"an integer from {least} to {_LARGEST}", max(least, 1))

    def number(self, name: str) -> float:
        """Read a finite number."""
        value = self.value(name)
        if _is_number(value):
            return float(value)
        return self._wrong(name, value, "a number", 1.0)

    def flag(self, name: str) -> bool:
        """Read true or false."""
        value = self.value(name)
        return value if isinstance(value, bool) else self._wrong(name, value, "true or false", True)

    def text(self, name: str) -> str:
        """Read a string."""
        value = self.value(name)
        return value if isinstance(value, str) else self._wrong(name, value, "a string", "")

    def integers(self, name: str) -> tuple[int, ...]:
        """Read a list of positive integers."""
        value = self.value(name)
        if isinstance(value, list) and value and all(_is_integer(v) and 0 < v <= _LARGEST for v in value):
            return tuple(int(v) for v in value)
        return self._wrong(name, value, "a list of positive integers", (1,))

    def depth(self, name: str) -> int:
        """Read the number of blocks of the only stage."""
        depth = self.integer(name)
        return depth if depth <= _MOST_BLOCKS else self._wrong(name, depth, f"at most {_MOST_BLOCKS}", 1)

    def depths(self, name: str) -> tuple[int, ...]:
        """Read the number of blocks of every stage."""
        depths = self.integers(name)
        return (
            depths if max(depths) <= _MOST_BLOCKS else self._wrong(name, list(depths), f"at most {_MOST_BLOCKS}", (1,))
        )

    def dilations(self, name: str, depths: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Read one list of positive integers per stage; null stands for 1 in every block."""
        value = self.value(name)
        if value is None:
            return tuple((1,) * depth for depth in depths)
        if isinstance(value, list) and all(
            isinstance(stage, list) and all(_is_integer(v) and 0 < v <= _LARGEST for v in stage) for stage in value
        ):
            return tuple(tuple(int(v) for v in stage) for stage in value)
        return self._wrong(name, value, "a list of lists of positive integers", tuple((1,) * d for d in depths))

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Read a list of ``count`` numbers; one number stands for all."""
        value = self.value(name)
        values = value if isinstance(value, list) else [value] * count
        if len(values) == count and all(_is_number(v) for v in values):
            return tuple(float(v) for v in values)
        return self._wrong(name, value, f"a list of {count} numbers", (1.0,) * count)

    def size(self, name: str) -> int | tuple[int, int]:
        """Read a size in one of Hugging Face's forms: one edge (a number or shortest_edge), or (height, width)."""
        value = self.value(name)
        edge = value.get("shortest_edge") if isinstance(value, Mapping) and len(value) == 1 else value
        if _is_integer(edge) and 0 < edge <= _LARGEST:
            return int(edge)
        pair = [value.get("height"), value.get("width")] if isinstance(value, Mapping) and len(value) == 2 else value
        if isinstance(pair, list) and len(pair) == 2 and all(_is_integer(v) and 0 < v <= _LARGEST for v in pair):
            return int(pair[0]), int(pair[1])
        return self._wrong(name, value, "a number, shortest_edge, or height and width", 1)

    def must_be(self, name: str, *allowed: Any) -> None:
        """Note a problem if a field has another value than the ones that are supported."""
        if (value := self._values.get(name)) not in allowed:
            self._wrong(name, value, " or ".join(repr(a) for a in allowed), None)

    def check(self, failure: str) -> None:
        """Raise an error that begins with ``failure`` if any field was wrong.

        Raises:
            NatdeployError: With all that was wrong.
        """
        if self.problems:
            raise NatdeployError(failure, got="; ".join(self.problems))

    def value(self, name: str) -> Any:
        """Give a field as it stands; None where it is missing."""
        return self._values.get(name)

    def _wrong(self, name: str, value: Any, needed: str, stand_in: T) -> T:
        shown = "missing" if name not in self._values else repr(value)
        self.problems.append(f"{name} is {shown if len(shown) < 80 else shown[:80] + '...'}, not {needed}")
        return stand_in


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST  # no NaN either


def _is_integer(value: object) -> TypeGuard[int | float]:
    whole = isinstance(value, float) and value.is_integer()  # some writers turn every number into a float
    return (isinstance(value, int) and not isinstance(value, bool)) or whole


def labels_from_config(document: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Give the class names in index order; none where ``id2label`` does not fit a classifier of ``count`` classes."""
    names = document.get("id2label")
    if not isinstance(names, Mapping) or {str(k) for k in names} != {str(i) for i in range(count)}:
        return ()
    by_index = {str(k): str(v) for k, v in names.items()}
    return tuple(by_index[str(i)] for i in range(count))
