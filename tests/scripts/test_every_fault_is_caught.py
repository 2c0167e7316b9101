"""The whole table of planted faults; a file of its own, so that it runs last and has both cores."""

import subprocess
import sys
from pathlib import Path

import pytest

MUTATE = Path(__file__).parents[2] / "scripts" / "mutate.py"


@pytest.mark.slow
def test_every_planted_fault_is_caught():
    done = subprocess.run([sys.executable, str(MUTATE), "--jobs", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
