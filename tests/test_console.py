"""How natdeploy talks, without a terminal; tests/cli/test_streams.py has one."""

import contextlib
import io
import re

import pytest

from natdeploy import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def on_a_terminal(monkeypatch):
    """Give a function that calls a function with standard output on a terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")

    def shown(function, *arguments, **options):
        with contextlib.redirect_stdout(Terminal()) as terminal:
            function(*arguments, **options)
        return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())  # colours and bold

    return shown


def test_a_table_in_a_pipe(capsys):
    console.print_table(("name", "size", "note"), [("a", "1.5 MiB", "x"), ("木木", "10 B", "")], title="files")
    assert capsys.readouterr().out == "files\nname     size  note\na     1.5 MiB  x\n木木     10 B\n"


def test_an_empty_table_has_a_head(capsys):
    console.print_table(("name", "size"), [])
    assert capsys.readouterr().out == "name  size\n"


@pytest.mark.parametrize("cells, right", [(["1.0e-04", "inf"], True), (["99.5 %", ""], True), (["1x2", "3"], False)])
def test_figures_stand_on_the_right(capsys, cells, right):
    console.print_table(("a wide head", "end"), [(cell, "|") for cell in cells])
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith(" ") is right


def test_optional_columns_give_way_to_a_narrow_terminal(on_a_terminal):
    columns, row = ("name", "first", "second", "verdict"), ("stage1.block1", "0123456789", "0123456789", "agrees")
    text = on_a_terminal(console.print_table, columns, [row], optional=("second", "first"))
    assert "second" not in text
    assert "stage1.block1" in text
    assert "agrees" in text
    assert all(line == line.rstrip() and len(line) <= 40 for line in text.splitlines())


def test_markup_and_control_characters_are_text(on_a_terminal):
    rows = [("[bold]a[/bold]",), ("\x1b]0;title\x07",), ("two\nlines",)]
    text = on_a_terminal(console.print_table, ("[red]head[/red]",), rows)
    text += on_a_terminal(console.print_facts, "[b]t[/b]", [("name", "[/]")])
    assert "[red]head[/red]" in text
    assert "[bold]a[/bold]" in text
    assert r"\x1b]0;title\x07" in text
    assert "two lines" in text
    assert "[b]t[/b]" in text
    assert "\x1b" not in text


def test_facts_wrap_on_a_terminal_and_lose_nothing(on_a_terminal):
    value = ", ".join(f"reshaped_hidden_states.{i}" for i in range(5))
    text = on_a_terminal(console.print_facts, "file", [("outputs", value), ("form", "hybrid")])
    assert all(len(line) <= 40 for line in text.splitlines())
    assert "".join(text.split()) == "file" + "outputs" + value.replace(" ", "") + "formhybrid"


def test_json_refuses_what_is_none():
    with pytest.raises(ValueError, match="JSON"):
        console.print_json({"error": float("inf")})


def test_a_step_in_a_pipe_is_announced(capsys):
    with console.working("counting [b]") as step:
        assert list(step.each([1, 2])) == [1, 2]
    assert capsys.readouterr() == ("", "counting [b] …\n")


def test_a_long_step_says_how_long_it_took(capsys, monkeypatch):
    times = iter([10.0, 13.25])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    with console.working("counting"):
        pass
    assert capsys.readouterr().err.splitlines() == ["counting …", "counting: 3.2 s"]


def test_a_step_that_fails_claims_nothing(capsys, monkeypatch):
    times = iter([10.0, 13.25])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    with pytest.raises(ZeroDivisionError), console.working("counting"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == "counting …\n"


@pytest.mark.parametrize(
    "count, text", [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**20, "5.0 MiB"), (3 * 2**29, "1.50 GiB")]
)
def test_human_size(count, text):
    assert console.human_size(count) == text


@pytest.mark.parametrize(
    "text, shown", [("é一", "é一"), ("a\tb", r"a\tb"), ("\udcff", r"\udcff"), ("\u202e", r"\u202e")]
)
def test_printable(text, shown):
    assert console.printable(text) == shown
