"""How large an error may be, per precision of the candidate, as a share of each output's standard deviation.

Each figure carries where it was measured; the promise of docs/design.md is 1e-4 in float32.
"""

from __future__ import annotations

MODEL_TOLERANCE = {
    "float32": 1e-4,
}


def tolerance_for(precision: str) -> float:
    """Give the tolerance of a model whose weights have this precision."""
    return MODEL_TOLERANCE[precision]
