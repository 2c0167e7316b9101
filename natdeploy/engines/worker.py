"""A process of its own for everything that TensorRT does, since it may end the process that it runs in.

    python -c "…; from natdeploy.engines.worker import main; main()" REQUEST.json

Requests and answers are what ``process.py`` writes and reads: one JSON object a line on standard output, of which the
last one has ``result`` or ``failed``. What TensorRT itself prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from natdeploy.ops.spec import OPERATORS, PLUGIN_NAMESPACE, PLUGIN_VERSION

_PR_SET_PDEATHSIG = 1  # of Linux' sys/prctl.h


class Failed(Exception):
    """A step that did not work.

    Args:
        stage: ``import``, ``plugin``, ``parse``, ``network``, ``config`` or ``build``.
        problems: Everything that was said about it.
    """

    def __init__(self, stage: str, problems: list[str]) -> None:
        super().__init__(stage)
        self.stage, self.problems = stage, problems


def main() -> None:
    """Do what the request says."""
    talk = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other process decides
    _die_with(request["parent"])

    def tell(message: dict[str, Any]) -> None:
        _write(talk, message)

    try:
        tell({"result": _answer(request, tell)})
    except Failed as failed:
        tell({"failed": {"stage": failed.stage, "problems": failed.problems}})
    talk.close()
    sys.stderr.flush()
    os._exit(0)  # TensorRT's own threads and destructors have nothing to add


def _answer(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    try:
        trt = importlib.import_module(request["module"])
    except (ImportError, OSError) as error:
        raise Failed("import", [str(error)]) from error
    log = logger(trt)
    if request["action"] == "probe":
        _load_plugin(trt, log, request["plugin"])
        return {"version": str(trt.__version__)}
    from natdeploy.engines.network import build

    try:
        builder = trt.Builder(log)  # first of all: what is said before there is one goes nowhere
    except TypeError as error:  # its factory returned nothing
        raise Failed("build", log.messages or [str(error)]) from error
    _load_plugin(trt, log, request["plugin"])
    return build(trt, builder, log, request, tell)


def logger(trt: Any) -> Any:
    """Make a logger that keeps what TensorRT and the plugin complain about, in ``messages``."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.messages.append(message)

    return Logger()


def _load_plugin(trt: Any, log: Any, library: str | None) -> None:
    """Load the library into TensorRT's registry and see that it has brought its creators."""
    if library is None:
        return
    registry = trt.get_plugin_registry()
    if registry.load_library(library) is None:
        raise Failed("plugin", log.messages or [f"its registry refused '{library}'"])
    creators = {(c.name, c.plugin_version, c.plugin_namespace) for c in registry.all_creators}
    wanted = [(name, PLUGIN_VERSION, PLUGIN_NAMESPACE) for name in OPERATORS]
    if missing := [creator for creator in wanted if creator not in creators]:
        raise Failed("plugin", [f"no creator {', '.join(creator)}" for creator in missing])


def _die_with(parent: int) -> None:
    """End when the process ends that wants the answer, even if that is killed: nobody else would."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _write(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()
