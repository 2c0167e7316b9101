"""How natdeploy talks: results to stdout, everything else to stderr; rich on a terminal, plain when piped."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 200  # columns of a table in a pipe: no cell is cut


def _console(stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def say(message: str) -> None:
    """Tell the user something that is no result."""
    _console(stderr=True).print(message, markup=False)


def print_json(document: Any) -> None:
    """Print a result for machines."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_text(text: str) -> None:
    """Print a result for people."""
    _console(stderr=False).print(text, markup=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print a result as a table: framed on a terminal, aligned columns in a pipe."""
    from rich import box
    from rich.table import Table

    console = _console(stderr=False)
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False
    )
    for column in columns:
        numeric = column in ("size", "params", "error", "max abs", "max rel", "cosine", "probability", "top-1")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    console.print(table)


@contextlib.contextmanager
def working(message: str) -> Iterator[None]:
    """Announce a step that takes time; on a terminal a spinner runs, and the end says how long it took."""
    console, start = _console(stderr=True), time.monotonic()
    if console.is_terminal:
        with console.status(message):
            yield
    else:
        console.print(f"{message} …", markup=False)
        yield
    if (elapsed := time.monotonic() - start) > 2:
        console.print(f"{message}: {elapsed:.1f} s", markup=False)


def progress(items: Sequence[Any], message: str) -> Iterator[Any]:
    """Go through ``items`` with a progress bar on a terminal."""
    console = _console(stderr=True)
    if console.is_terminal and len(items) > 1:
        from rich.progress import track

        yield from track(items, message, console=console, transient=True)
    else:
        yield from items


def human_size(count: int) -> str:
    """Say a number of bytes as people do."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
