"""Python environments beside this one, for packages that cannot live here: old, or at odds with what is installed.

They lie in the repository's root as ``.venv-with-…`` (git-ignored), are made by uv in seconds where its cache has the
packages, and are kept between runs.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python_with(*requirements: str, newest_python: tuple[int, int] | None = None) -> Path:
    """Give the interpreter of an environment that holds ``requirements``, and natdeploy as it lies here.

    Of natdeploy's own dependencies it holds just those among the requirements.

    Args:
        requirements: As pip takes them: ``transformers==4.40.2``, ``numpy<2``.
        newest_python: For packages that have no wheels for later versions; this interpreter's version where that is
            older.
    """
    python = sys.executable
    if newest_python is not None and sys.version_info[:2] > newest_python:
        python = ".".join(map(str, newest_python))
    key = "\n".join([*sorted(requirements), python, str(sys.version_info[:2])])
    name = "-".join(re.sub(r"[^a-z0-9.]+", "", r.lower()) for r in requirements[:1])
    target = ROOT / f".venv-with-{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    interpreter = target / "bin" / "python"
    if not interpreter.exists():
        building = target.with_name(f"{target.name}-{os.getpid()}")  # renamed when it is complete
        try:
            _run(*uv(), "venv", "--quiet", "--python", python, str(building))
            _run(*uv(), "pip", "install", "--quiet", "--python", str(building / "bin" / "python"), *requirements)
            site_packages = next((building / "lib").glob("python*/site-packages"))
            (site_packages / "natdeploy-as-it-lies-here.pth").write_text(f"{ROOT}\n")
            building.rename(target)
        except OSError:
            if not interpreter.exists():  # else another process was faster
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return interpreter


def as_installed_here(package: str) -> str:
    """Pin a package to the version of this environment: uv then links it from its cache."""
    version = importlib.metadata.version(package).partition("+")[0]
    return f"{package}=={version}"


def uv() -> list[str]:
    """Give the command that runs uv."""
    beside = Path(sys.executable).with_name("uv")
    if beside.exists():
        return [str(beside)]
    if found := shutil.which("uv"):
        return [found]
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    raise RuntimeError("these tests need uv: pip install uv")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
