"""The command line: one thin file per command, which parses, calls one library function and prints its result."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Sequence

import click

from natdeploy import __version__
from natdeploy.cli import options
from natdeploy.cli.build_engine import build_engine
from natdeploy.cli.convert import convert
from natdeploy.cli.doctor import doctor
from natdeploy.cli.export import export
from natdeploy.cli.infer import infer
from natdeploy.cli.inspect import inspect
from natdeploy.cli.lower import lower
from natdeploy.cli.verify import verify
from natdeploy.console import finish_output, give_up_on, say
from natdeploy.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, NatdeployError

# Looking at a path may fail in these ways wherever it is done, and never by our doing.
_THEIRS = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO)


@click.group(
    cls=options.Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    example="natdeploy export shi-labs/nat-mini-in1k-224 -o nat_mini.onnx\n"
    "natdeploy verify nat_mini.onnx --checkpoint shi-labs/nat-mini-in1k-224\n"
    "natdeploy infer nat_mini.onnx photo.jpg",
)
@click.version_option(__version__, prog_name="natdeploy")
def cli() -> None:
    """Deploy Neighborhood Attention Transformers: checkpoint to ONNX to any runtime, with proof."""


for command in (export, lower, convert, build_engine, verify, infer, inspect, doctor):
    cli.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status (docs/design.md §7)."""
    try:
        status = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        finish_output()
    except NatdeployError as error:
        say("error: " + " ".join(str(error).split()))
        return error.exit_status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click turns the former into the latter
        give_up_on(sys.stdout)  # the reader of a pipe went away: nobody is left to tell
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in _THEIRS or error.filename is None:
            return _our_bug()
        say(f"error: cannot use '{error.filename}'. Got: {error.strerror}.")
        return EXIT_FAILED
    except MemoryError:
        say("error: out of memory. Use a smaller image size or batch.")
        return EXIT_FAILED
    except Exception:
        return _our_bug()
    return status if isinstance(status, int) else EXIT_DONE


def _our_bug() -> int:
    traceback.print_exc()
    say(
        "This is a bug in natdeploy. Please report it with the traceback above and the output of "
        "`python -m natdeploy.environment`."
    )
    return EXIT_FAILED


def main() -> None:
    """Entry point of the ``natdeploy`` command."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # labels and file names that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run())
