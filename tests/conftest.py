"""Options of the test run, and the modules that tests share."""

from __future__ import annotations  # pytest 8.0 does not export TerminalReporter

import importlib.metadata
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `from ops.cases import CASES`

# Code of other people that the numbers are compared with; what is missing makes tests skip.
_OTHERS = ("onnxruntime", "onnx", "natten", "transformers", "huggingface_hub", "scikit-learn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests as well, as the CI does")
    parser.addoption("--all-architectures", action="store_true", help="compile for every GPU that is shipped: minutes")
    parser.addoption("--all-engines", action="store_true", help="build every golden model in every way: minutes")
    parser.addoption("--require", default="", help="packages and programs that must be there, so that no test skips")


def pytest_configure(config: pytest.Config) -> None:
    required = [name for name in config.getoption("--require").split(",") if name]
    if missing := [name for name in required if _version(name) is None and shutil.which(name) is None]:
        raise pytest.UsageError(f"--require: not installed: {', '.join(missing)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: runs with --slow"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    versions = {name: _version(name) for name in _OTHERS}
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = ", ".join(name for name, version in versions.items() if not version) or "none"
    terminalreporter.write_line(f"compared with: {found}; not installed here: {missing}")
    if config.getoption("--slow"):
        terminalreporter.write_line(
            "in environments of their own (slow tests): onnxruntime 1.18.1, transformers 4.40.2, TensorRT 10.15.1 "
            "(needs mvn), lean 10.16.1 and 11.4.0, for RTX 1.7.1, polygraphy 0.53.6, cuda-bindings 12.9 and 13.0"
        )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
