"""What may be opened where a user names a file."""

from __future__ import annotations

import stat
from pathlib import Path

from natdeploy.errors import NatdeployError

_SPECIAL = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def special_kind(path: Path) -> str | None:
    """Say what stands at ``path`` if it is neither a file nor a directory; links are followed."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # whoever opens it says why that cannot be done
        return None
    return next((kind for is_of_kind, kind in _SPECIAL.items() if is_of_kind(mode)), None)


def refuse_special_file(path: Path) -> None:
    """Refuse what is no ordinary file before it is opened: a pipe may never begin to give anything, a device never end.

    Directories and missing files pass: the errors for them differ from place to place.

    Raises:
        NatdeployError: If it is a named pipe, a socket or a device.
    """
    if (kind := special_kind(path)) is not None:
        raise NatdeployError(
            f"cannot read '{path}'",
            got=kind,
            needed="an ordinary file",
            next_step="Write what it gives into a file, and name that",
        )
