"""What every process does with a TensorRT module: import it, keep its log, and load the plugin library into it."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from natdeploy.ops.spec import OPERATORS, PLUGIN_NAMESPACE, PLUGIN_VERSION

# Names of tensor types as in ONNX and numpy, by TensorRT's; those that are not here keep its name.
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


class Failed(Exception):
    """A step that did not work.

    Args:
        stage: ``import``, ``plugin``, ``parse``, ``network``, ``config``, ``build``, ``write`` or ``runtime``.
        problems: Everything that was said about it.
    """

    def __init__(self, stage: str, problems: list[str]) -> None:
        super().__init__(stage)
        self.stage, self.problems = stage, problems


def imported(name: str) -> Any:
    """Import the module.

    Raises:
        Failed: If it, or a library that it needs, cannot be loaded.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise Failed("import", [str(error)]) from error


@functools.cache
def logger(trt: Any) -> Any:
    """Give the logger that keeps what TensorRT and the plugin complain about, in ``messages``.

    There is one per process, for good: TensorRT's registry and the plugin go on calling the first that a process made,
    also when those who made it are gone, and a logger that is gone is a crash (TensorRT for RTX 1.7.1).
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.messages.append(message)

    return Logger()


def load_plugin(trt: Any, log: Any, library: str | None) -> None:
    """Load the library into TensorRT's registry and see that it has brought its creators.

    Where they are registered already, nothing is loaded: a registry refuses a library the second time (TensorRT for RTX
    1.7.1), and there is one per process, for all runners in it.

    Raises:
        Failed: If the registry refuses it, or a creator is missing.
    """
    if library is None:
        return
    registry = trt.get_plugin_registry()
    if not _missing_creators(registry):
        return
    if registry.load_library(library) is None:
        raise Failed("plugin", log.messages or [f"its registry refused '{library}'"])
    if missing := _missing_creators(registry):
        raise Failed("plugin", [f"no creator {', '.join(creator)}" for creator in missing])


def _missing_creators(registry: Any) -> list[tuple[str, str, str]]:
    there = {(c.name, c.plugin_version, c.plugin_namespace) for c in registry.all_creators}
    wanted = [(name, PLUGIN_VERSION, PLUGIN_NAMESPACE) for name in OPERATORS]
    return [creator for creator in wanted if creator not in there]
