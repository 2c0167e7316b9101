"""Sizes in bytes as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def bytes_from_text(text: str) -> int | None:
    """Read ``4GiB``, ``512M`` or ``65536``: units are powers of 1024. None where it is no size."""
    match = re.fullmatch(r"([0-9]{1,15})\s*(?:(B?)|([KMG])(?:i?B)?)", text.strip(), re.IGNORECASE)
    return int(match[1]) * _UNITS[(match[3] or "").upper()] if match else None
