"""``natdeploy doctor``."""

from __future__ import annotations

import click

from natdeploy.cli import options
from natdeploy.console import print_json, print_lines, print_table


@click.command(
    cls=options.Command,
    short_help="What is installed, and what it is enough for.",
    example="natdeploy doctor",
)
@click.option("--plugin-library", is_flag=True, help="Print the path of the TensorRT plugin library, for other tools.")
@options.as_json
def doctor(plugin_library: bool, as_json: bool) -> None:
    """Say what is installed, what that is enough for, and what to do about the rest."""
    from natdeploy.environment import describe, examine

    if plugin_library:
        _print_plugin_library(as_json)
        return
    if as_json:
        print_json(describe())
        return
    findings = examine()
    print_table(("what", "state", "found"), [(finding.subject, finding.state, finding.detail) for finding in findings])
    advice = [f"{finding.subject}: {finding.advice}" for finding in findings if finding.advice]
    print_lines(["", "To do, where it is wanted:", *advice] if advice else [])


def _print_plugin_library(as_json: bool) -> None:
    from natdeploy.plugin_library import checked_plugin_library

    path = str(checked_plugin_library())
    if as_json:
        print_json({"plugin_library": path})
    else:
        print_lines([path])
