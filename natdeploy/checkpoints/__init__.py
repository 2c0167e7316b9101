"""From files to configuration and tensors: one reader per format, chosen by what lies at the path."""

from __future__ import annotations

from natdeploy.checkpoints.checkpoint import Checkpoint as Checkpoint
from natdeploy.checkpoints.load import weights_from_checkpoint as weights_from_checkpoint
