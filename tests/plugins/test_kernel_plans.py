"""Windows, tiles and addresses of the kernels, by themselves (tests/cpp/check_plans.cpp)."""

import subprocess
from pathlib import Path

from plugins.kernel_program import ROOT, SANITIZED, compiled, linked


def test_windows_tiles_and_addresses_are_as_defined(tmp_path: Path):
    objects = compiled([ROOT / "tests" / "cpp" / "check_plans.cpp"], tmp_path, SANITIZED)
    checks = linked(objects, tmp_path, SANITIZED).executable
    done = subprocess.run([str(checks)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
