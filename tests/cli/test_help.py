"""Help, usage errors, and rules that hold for every command."""

import ast
import functools
import inspect
import shlex
import textwrap
from pathlib import Path

import click
import pytest
from command_line import EVERYTHING, run, run_process

from natdeploy import __version__
from natdeploy.cli import cli

COMMANDS = sorted(cli.commands)
OPTIONS = [
    (name, option)
    for name, command in sorted(cli.commands.items())
    for parameter in command.params
    if isinstance(parameter, click.Option)
    for option in parameter.opts
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_needs_nothing_but_click(command, flag):
    result = run_process(*command.split(), flag, blocked=EVERYTHING)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("Usage: ")
    options = cli.commands[command].params if command else cli.params
    assert all(name in result.out for option in options for name in option.opts if name.startswith("-"))


def test_blocking_does_block():
    result = run_process("doctor", blocked=EVERYTHING, before="import torch")
    assert "ModuleNotFoundError" in result.err


def test_version():
    result = run("--version")
    assert (result.status, result.out) == (0, f"natdeploy, version {__version__}\n")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_ends_with_examples_that_parse(command):
    example = (cli.commands[command] if command else cli).example
    result = run(*command.split(), "--help")
    assert result.out.endswith("\nExample:\n" + textwrap.indent(example, "  ") + "\n")
    assert "..." not in result.out.replace("ARGS]...", "").replace("IMAGE...", "")  # nothing is cut
    examples = [shlex.split(line) for line in example.splitlines()]
    assert examples
    for program, name, *arguments in examples:
        assert program == "natdeploy"
        if command:
            assert name == command
        cli.commands[name].make_context(name, arguments)  # parses; runs nothing


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_stay_thin(command):
    source = inspect.getsource(inspect.unwrap(cli.commands[command].callback))
    (function,) = ast.parse(source).body
    lines = {node.lineno for statement in function.body[1:] for node in ast.walk(statement) if hasattr(node, "lineno")}
    assert len(lines) <= 15


@functools.cache
def options_that_tests_pass() -> set[tuple[str, str]]:
    """(command, option) of every call ``run(COMMAND, ...)`` in the tests of the command line, this file apart."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("run", "run_process"):
                texts = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
                found |= (
                    {(texts[0], text) for text in texts[1:]} if texts and path.name != Path(__file__).name else set()
                )
    return found


@pytest.mark.parametrize("command, option", OPTIONS)
def test_every_option_is_run_by_a_test(command, option):
    assert (command, option) in options_that_tests_pass(), f"no test calls run({command!r}, ..., {option!r}, ...)"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["exprot"],
        ["export"],
        ["export", "a"],
        ["export", "a", "-o"],
        ["export", "a", "-o", "b.onnx", "--precision", "16"],
        ["export", "a", "-o", "b.onnx", "--form", "engine"],
        ["export", "a", "-o", "b.onnx", "--image-size", "large"],
        ["export", "a", "-o", "b.onnx", "--image-size", "9" * 5000],
        ["export", "a", "-o", "b.onnx", "--image-size", "-32"],
        ["export", "a", "-o", "b.onnx", "--dynamic-size", "64-128"],
        ["export", "a", "-o", "b.onnx", "--batch", "0"],
        ["export", "a", "-o", "b.onnx", "--batch", "9" * 5000],
        ["export", "random:nat_mini", "-o", "b.onnx", "--image-size", "64", "--dynamic-size", "64:128"],
        ["lower", "a.onnx", "-o", "b.onnx", "--form", "engine"],
        ["infer", "a.onnx"],
        ["infer", "a.onnx", "b.png", "--top", "0"],
        ["inspect"],
        ["verify", "a.onnx"],
        ["verify", "a.onnx", "--checkpoint", "a", "--against", "a.npz"],
        ["verify", "a.onnx", "--checkpoint", "a", "--images", "b", "--inputs", "c.npz"],
        ["verify", "a.onnx", "--against", "a.npz", "--images", "b"],
        ["verify", "a.onnx", "--against", "a.npz", "--layers"],
        ["verify", "a.onnx", "--against", "a.npz", "--reference", "transformers"],
        ["verify", "a.onnx", "--against", "a.npz", "--variant", "nat_mini"],
        ["verify", "a.onnx", "--checkpoint", "a", "--tolerance", "nan"],
        ["verify", "a.onnx", "--checkpoint", "a", "--tolerance", "inf"],
        ["verify", "a.onnx", "--checkpoint", "a", "--tolerance", "-1"],
        ["verify", "a.onnx", "--checkpoint", "a", "--tolerance", "little"],
        ["verify", "a.onnx", "--checkpoint", "a", "--seed", "-1"],
        ["doctor", "now"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_a_wrong_command_line_ends_with_status_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.status == 2
    assert result.out == ""
    assert result.err.strip()
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []
