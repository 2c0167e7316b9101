"""The errors that a user can mend, and the exit statuses of the command line (docs/design.md §7)."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FAILED = 1  # could not do it: files, data, or what is installed
EXIT_USAGE = 2  # the command line itself is wrong (click's own status)
EXIT_DISAGREES = 3  # `verify` ran both sides and they disagree
EXIT_INTERRUPTED = 130


class NatdeployError(Exception):
    """Something the user can mend: shown as one paragraph, without traceback, exit status 1.

    Args:
        what: What could not be done, and on which file or value.
        got: What was found there.
        needed: What would have been accepted.
        next_step: The command or change that mends it.

    Attributes:
        exit_status: What the command line ends with.
    """

    exit_status = EXIT_FAILED

    def __init__(
        self, what: str, *, got: str | None = None, needed: str | None = None, next_step: str | None = None
    ) -> None:
        self.what, self.got, self.needed, self.next_step = what, got, needed, next_step
        parts = [_sentence(what)]
        if got:
            parts.append(f"Got: {_sentence(got)}")
        if needed:
            parts.append(f"Needed: {_sentence(needed)}")
        if next_step:  # one that ends with a quoted command stays without a full stop: it is there to be copied
            parts.append(next_step.strip() if next_step.rstrip().endswith(("'", "`")) else _sentence(next_step))
        super().__init__(" ".join(parts))


class ContradictionError(NatdeployError):
    """A request contradicts itself, whatever the files hold: on the command line a wrong usage, exit status 2."""

    exit_status = EXIT_USAGE


class MissingDependencyError(NatdeployError):
    """A package that this job needs is not installed; names the extra that brings it."""

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            next_step=f"Install it with: pip install 'natdeploy[{extra}]'",
        )


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."
