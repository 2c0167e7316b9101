"""Everything that can compute a model's outputs, behind one protocol (protocol.py)."""

from __future__ import annotations

from natdeploy.runners.protocol import Runner as Runner
from natdeploy.runners.protocol import SizeLimits as SizeLimits
from natdeploy.runners.protocol import TensorSpec as TensorSpec
