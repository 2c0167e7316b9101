"""How natdeploy talks: results to stdout, everything else to stderr; rich on a terminal, plain when piped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from natdeploy.errors import NatdeployError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")

_NUMBERS = re.compile(r"-?[\d.]+(e[+-]\d+)?( %| ([KMG]i)?B| M)?|inf|nan")
_COLOURS = {"agrees": "green", "ok": "green", "missing": "yellow", "problem": "red"}
_TRAILING_BLANKS = re.compile(r"(?:(\x1b\[[0-9;]*m)| )+$", re.MULTILINE)


def say(message: str) -> None:
    """Tell the user something that is no result."""
    print(printable(message), file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    """Print a result for machines; NaN and infinity are no JSON, so they would be our bug."""
    _write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_lines(lines: Iterable[str]) -> None:
    """Print a result that is one item a line."""
    _write("".join(f"{printable(line)}\n" for line in lines))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", optional: Sequence[str] = ()
) -> None:
    """Print a result as a table: framed on a terminal, aligned columns in a pipe.

    Args:
        columns: Their heads.
        rows: The cells.
        title: Stands above it.
        optional: Columns that a terminal too narrow for all may leave out, the first one first.
    """
    rows = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    if _is_terminal(sys.stdout):
        _write(_framed(columns, rows, title, optional))
    else:
        _write((f"{title}\n" if title else "") + _aligned([columns, *rows], _right_aligned(rows, len(columns))))


def print_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a result as one fact a line below a title; on a terminal long ones go on, indented, on the next line."""
    rows = [[printable(name), printable(value)] for name, value in facts]
    if _is_terminal(sys.stdout):
        _write(_listed(title, rows))
    else:
        _write(f"{title}\n" + _aligned([["", *row] for row in rows], set()))


def printable(text: str) -> str:
    """Write control characters as escapes: what a file says of itself must not steer the user's terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class Step:
    """A step that is under way; shows how far it is where there is a terminal."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress, self._task = progress, task

    def each(self, items: Sequence[T]) -> Iterator[T]:
        """Go through ``items``; each one done moves the bar."""
        if self._progress is None or self._task is None:
            yield from items
            return
        self._progress.update(self._task, total=len(items))
        for item in items:
            yield item
            self._progress.advance(self._task)

    def at(self, share: float) -> None:
        """Move the bar to ``share``, from 0 to 1."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=1.0, completed=share)


@contextlib.contextmanager
def working(message: str) -> Iterator[Step]:
    """Announce a step that takes time; on a terminal a bar moves, and the end says how long it took."""
    start = time.monotonic()
    if _is_terminal(sys.stderr):
        with _bar() as progress:
            yield Step(progress, progress.add_task(printable(message), total=None))
    else:
        say(f"{message} …")
        yield Step()
    if (elapsed := time.monotonic() - start) > 2:
        say(f"{message}: {elapsed:.1f} s")


def human_size(count: int) -> str:
    """Say a number of bytes as people do."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def give_up_on(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not fail on it once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # no file descriptor, as under a test's capture
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def finish_output() -> None:
    """Write what is still buffered.

    Raises:
        NatdeployError: If standard output cannot take it.
    """
    _write("", flush=True)


def _write(text: str, flush: bool = False) -> None:
    try:
        sys.stdout.write(text)
        if flush:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up_on(sys.stdout)
        raise NatdeployError("cannot write the result to standard output", got=error.strerror) from error


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def _right_aligned(rows: Sequence[Sequence[str]], count: int) -> set[int]:
    """Columns of figures only."""
    return {i for i in range(count) if rows and all(_NUMBERS.fullmatch(row[i]) or not row[i] for row in rows)}


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # Chinese characters, say, take two columns

    return cell_len(text)


def _aligned(rows: Sequence[Sequence[str]], right: set[int]) -> str:
    """Columns two blanks apart; nothing is cut, and no line ends with blanks."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        blanks = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        pairs = enumerate(zip(row, blanks, strict=True))
        lines.append("  ".join(blank + cell if i in right else cell + blank for i, (cell, blank) in pairs).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _framed(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str, optional: Sequence[str]) -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    left_out: set[str] = set()
    widths = {c: max(map(_width, [c, *(row[i] for row in rows)])) for i, c in enumerate(columns)}
    for column in optional:
        if sum(widths[c] + 3 for c in columns if c not in left_out) > _terminal_width():
            left_out.add(column)
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    right = _right_aligned(rows, len(columns))
    for i, column in enumerate(columns):
        if column not in left_out:
            table.add_column(Text(column), justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        cells = [cell for cell, column in zip(row, columns, strict=True) if column not in left_out]
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
    return _rendered(table)


def _listed(title: str, rows: Sequence[Sequence[str]]) -> str:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return _rendered(table)


def _terminal_width() -> int:
    from rich.console import Console

    return Console().width


def _rendered(table: Any) -> str:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    return _TRAILING_BLANKS.sub(r"\1", capture.get())  # of the colours among them, the last one resets


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
