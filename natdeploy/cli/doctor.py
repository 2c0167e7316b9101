"""``natdeploy doctor``."""

from __future__ import annotations

import click

from natdeploy.cli import options


@click.command()
@options.as_json
def doctor(as_json: bool) -> None:
    r"""Say what is installed, what that is enough for, and what to do about the rest.

    \b
    Example:
      natdeploy doctor
    """
    from natdeploy.cli.messages import doctor_message
    from natdeploy.environment import describe, examine

    doctor_message(examine(), describe(), as_json)
