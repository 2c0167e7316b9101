"""CUDA's compiler and disassembler, and what they say about a kernel: registers, spills, machine code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natdeploy.errors import NatdeployError

PACKAGES = ("cuda-toolkit[nvcc,cccl,cudart]==13.0.3", "nvidia-cuda-cuobjdump==13.2.*", "nvidia-cuda-nvdisasm==13.2.*")


@dataclass(frozen=True)
class Resources:
    """What the assembler gave a kernel, per thread; ``shared_bytes`` is what is not dynamic, per block."""

    registers: int
    spill_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Toolkit:
    """A folder with ``bin/nvcc``, ``bin/cuobjdump``, ``bin/nvdisasm`` and ``include``."""

    root: Path

    def compiled(self, source: Path, compute_capability: int, includes: Sequence[Path], target: Path) -> str:
        """Compile one file to a cubin; gives what the assembler says (``-Xptxas -v``)."""
        flags = ["-std=c++20", f"-arch=sm_{compute_capability}", "-cubin", "-Xptxas", "-v"]
        flags += [flag for path in includes for flag in ("-I", str(path))]
        return self._run("nvcc", *flags, str(source), "-o", str(target)).stderr

    def disassembled(self, cubin: Path) -> str:
        """Give the machine code as text."""
        return self._run("cuobjdump", "-sass", str(cubin)).stdout

    def _run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
        command = [str(self.root / "bin" / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise NatdeployError(
                f"{name} failed", got=done.stderr.strip()[-2000:], needed="a CUDA toolkit, 12.4 or newer"
            )
        return done


def find_toolkit(named: Path | None = None) -> Toolkit:
    """Find compiler and disassembler: the named folder, CUDA_HOME, this Python's packages, the system's.

    Raises:
        NatdeployError: If no folder has all of them, with the folders looked at.
    """
    candidates = [named] if named else [*_from_environment(), *_from_packages(), Path("/usr/local/cuda")]
    for root in candidates:
        if all((root / "bin" / tool).is_file() for tool in ("nvcc", "cuobjdump", "nvdisasm")):
            return Toolkit(root)
    raise NatdeployError(
        "no CUDA compiler with disassembler was found",
        got=f"looked in {', '.join(map(str, candidates))}",
        needed="a folder with bin/nvcc, bin/cuobjdump and bin/nvdisasm",
        next_step="pip install "
        + " ".join(f"'{package}'" for package in PACKAGES)
        + ", or name a toolkit by --toolkit",
    )


def _from_environment() -> list[Path]:
    named = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    on_path = shutil.which("nvcc")
    return [*named, *([Path(on_path).resolve().parents[1]] if on_path else [])]


def _from_packages() -> list[Path]:
    import importlib.util

    try:
        spec = importlib.util.find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        return []
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def resources_from_log(log: str) -> dict[str, Resources]:
    """Read registers, spilled bytes and static shared memory by mangled kernel name from ``-Xptxas -v``."""
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.split("'", 1)[0]
        registers = re.search(r"Used (\d+) registers", part)
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
        shared = re.search(r"(\d+) bytes smem", part)
        if registers is None or spills is None:
            raise ValueError(f"the assembler's report on {name} cannot be read: {part[:300]}")
        found[name] = Resources(int(registers[1]), int(spills[1]) + int(spills[2]), int(shared[1]) if shared else 0)
    return found


def demangled(names: Sequence[str]) -> dict[str, str]:
    """Give readable names without namespace, return type and arguments: ``generic_attention<GenericPlan<…>>``."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return {name: short_name(full) for name, full in zip(names, done.stdout.splitlines(), strict=True)}


def short_name(name: str) -> str:
    """Shorten what the demangler prints."""
    end = name.rfind(">(") + 1 or name.find("(")
    return re.sub(r"natdeploy::|^void |\s", "", name[:end] if end > 0 else name).replace(",", ", ")
