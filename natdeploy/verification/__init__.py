"""Do the numbers match? Two runners, the same inputs, a verdict that can say no (docs/design.md §8)."""

from __future__ import annotations

from natdeploy.verification.artifact import VerifyRequest as VerifyRequest
from natdeploy.verification.artifact import verify_artifact as verify_artifact
from natdeploy.verification.report import VerifyReport as VerifyReport
from natdeploy.verification.two_runners import verify as verify
