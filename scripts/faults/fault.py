"""What a planted fault is, and which tests have to notice it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Selection:
    """Tests that have to notice a fault by themselves.

    Args:
        name: For the report.
        narrow: Arguments of pytest: the tests that are meant to notice, few and fast.
        wider: Arguments of pytest for faults that those miss, to learn whether any test notices.
    """

    name: str
    narrow: tuple[str, ...]
    wider: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """One semantic fault: ``old`` in ``file`` becomes ``new``.

    Args:
        id: ``area/what``.
        file: Path in the repository.
        old: Occurs exactly once in the file.
        new: What stands there instead; the file still compiles.
        selections: Each of them must notice.
    """

    id: str
    file: str
    old: str
    new: str
    selections: tuple[Selection, ...]

    def planted_in(self, root: Path) -> str:
        """Give the text of the file with the fault in it.

        Raises:
            ValueError: If ``old`` does not occur exactly once: whoever changed that line brings the table along.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.id}: {self.file} has {count} times, not once, the text {self.old!r}")
        return text.replace(self.old, self.new)


Group = tuple[tuple[Selection, ...], Mapping[str, tuple[str, str]]]


def planted(area: str, file: str, *groups: Group) -> tuple[Fault, ...]:
    """Give the faults of one file, from groups ``(selections that must notice, {what: (old, new)})``."""
    return tuple(
        Fault(f"{area}/{what}", file, old, new, selections)
        for selections, texts in groups
        for what, (old, new) in texts.items()
    )
