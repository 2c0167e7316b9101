"""What is installed, what that is enough for, and what to do about the rest. Standard library only; probes never fail.

``python -m natdeploy.environment`` prints it as JSON, for bug reports.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass

from natdeploy.errors import MissingDependencyError
from natdeploy.ops.spec import Neighborhood
from natdeploy.ops.support import FORMS, Use, unsupported_reasons

# Distributions whose versions matter, by the module that they bring.
PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "onnx": ("onnx",),
    "onnx_ir": ("onnx-ir",),
    "onnxscript": ("onnxscript",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "safetensors": ("safetensors",),
    "huggingface_hub": ("huggingface_hub",),
    "transformers": ("transformers",),
    "natten": ("natten",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings"),
    "cuda.bindings": ("cuda-bindings",),
    "numpy": ("numpy",),
    "PIL": ("pillow",),
}


@dataclass(frozen=True)
class Job:
    """Something that natdeploy can do, and what it needs for it.

    Args:
        purpose: For people.
        modules: What must be importable.
        extra: The extra of the natdeploy package that brings them.
    """

    purpose: str
    modules: tuple[str, ...]
    extra: str


JOBS: dict[str, Job] = {
    "export": Job("exporting and verifying against a checkpoint", ("torch", "onnxscript", "safetensors"), "export"),
    "infer": Job("running ONNX files", ("onnxruntime",), "cpu"),
    "hub": Job("loading checkpoints by hub id", ("huggingface_hub",), "hub"),
    "transformers": Job("verifying against Hugging Face's code", ("transformers",), "transformers"),
    "natten": Job("comparing with NATTEN", ("natten",), "natten"),
}


def is_installed(module: str) -> bool:
    """Whether a module could be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def require(job: str) -> None:
    """Refuse a job whose packages are not installed.

    Raises:
        MissingDependencyError: Naming the first missing package and the extra that brings it.
    """
    for module in JOBS[job].modules:
        if not is_installed(module):
            raise MissingDependencyError(module, JOBS[job].purpose, JOBS[job].extra)


def installed_distributions(module: str) -> dict[str, str]:
    """Give version by distribution of everything installed that brings a module."""
    found = {}
    for distribution in PACKAGES[module]:
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Finding:
    """One line of ``natdeploy doctor``.

    Args:
        subject: What was looked at.
        state: ``ok``, ``missing`` or ``problem``.
        detail: What was found.
        advice: What to do; empty where nothing is to be done.
    """

    subject: str
    state: str
    detail: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything that natdeploy can make use of."""
    from natdeploy import __version__
    from natdeploy.engines.findings import engine_findings
    from natdeploy.plugin_library import plugin_finding

    findings = [
        Finding("natdeploy", "ok", __version__),
        Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding("processor", "ok", f"{_cores()} usable cores"),
    ]
    findings += [_finding(job) for job in JOBS.values()]
    return [*findings, *_forms(), plugin_finding(), *engine_findings(), *_conflicts()]


def _finding(job: Job) -> Finding:
    """Say whether what a job needs is installed, and new enough."""
    install = f"pip install -U 'natdeploy[{job.extra}]'"
    if missing := [module for module in job.modules if not is_installed(module)]:
        return Finding(job.purpose, "missing", f"not installed: {', '.join(missing)}", install)
    have = {name: version for module in job.modules for name, version in installed_distributions(module).items()}
    least = _least_versions()
    old = [f"{name} is older than {least[name]}" for name in have if _is_older(have[name], least.get(name, ""))]
    detail = ", ".join(f"{name} {version}" for name, version in have.items())
    return Finding(job.purpose, "problem" if old else "ok", "; ".join([detail, *old]), install if old else "")


def _least_versions() -> dict[str, str]:
    """Read what natdeploy's own package metadata asks for; nothing where it is not installed as a package."""
    try:
        requirements = importlib.metadata.requires("natdeploy") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = [re.match(r"([\w.-]+) *>= *([0-9.]+)", requirement) for requirement in requirements]
    return {match[1]: match[2] for match in found if match}


def _is_older(version: str, least: str) -> bool:
    """Compare the numbers that versions begin with: 2.15.0+cpu is no older than 2.13."""
    numbers = [[int(n) for n in re.findall(r"[0-9]+", re.split(r"[^0-9.]", text)[0])] for text in (version, least)]
    return numbers[0] < numbers[1]


def _forms() -> list[Finding]:
    """Which forms of an ONNX file the installed runtime can take, by the support table."""
    if not is_installed("onnxruntime"):
        return []
    window = Neighborhood.of((7, 7), scale=1.0)
    forms = [form for form in FORMS if not unsupported_reasons(Use(form, "onnxruntime", window))]
    return [Finding("forms that ONNX Runtime takes", "ok", ", ".join(forms))]


def _conflicts() -> list[Finding]:
    """Installed packages that get in each other's way."""
    runtimes = installed_distributions("onnxruntime")
    if len(runtimes) > 1:
        detail = " and ".join(f"{name} {version}" for name, version in runtimes.items())
        return [
            Finding(
                "ONNX Runtime",
                "problem",
                f"{detail} are both installed and overwrite each other's files",
                "pip uninstall -y onnxruntime onnxruntime-gpu, then install the one that you want",
            )
        ]
    return []


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, object]:
    """Everything above, as plain JSON types."""
    return {
        "findings": [asdict(finding) for finding in examine()],
        "packages": {module: installed_distributions(module) for module in PACKAGES},
        "python": sys.version,
        "platform": platform.platform(),
    }


if __name__ == "__main__":
    print(json.dumps(describe(), indent=2))
