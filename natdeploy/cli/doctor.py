"""``natdeploy doctor``."""

from __future__ import annotations

import click

from natdeploy.cli import options
from natdeploy.console import print_json, print_table


@click.command()
@options.as_json
def doctor(as_json: bool) -> None:
    r"""Say what is installed, what that is enough for, and what to do about the rest.

    \b
    Example:
      natdeploy doctor
    """
    from natdeploy.environment import describe, examine

    if as_json:
        print_json(describe())
        return
    rows = [(finding.subject, finding.state, finding.detail, finding.advice) for finding in examine()]
    print_table(("what", "state", "found", "to do"), rows)
