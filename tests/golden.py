"""The golden data: outputs of the original implementations (tests/data/golden/README.md says how they were made)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).parent / "data" / "golden"
MODELS = sorted(path.parent.name for path in GOLDEN.glob("*/io.npz"))


@cache
def golden_arrays(name: str) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.float32]]]:
    """Give ``pixel_values`` and the expected outputs, by our names, of one golden model."""
    with np.load(GOLDEN / name / "io.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    pixels = arrays.pop("pixel_values")
    return pixels, {_our_name(key): value for key, value in arrays.items()}


def _our_name(key: str) -> str:
    for theirs, ours in (("reshaped_hidden_", "reshaped_hidden_states."), ("hidden_", "hidden_states.")):
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
