"""A process of its own for everything that TensorRT does, since it may end the process that it runs in.

    python -c "…; from natdeploy.engines.worker import main; main()" REQUEST.json

Requests and answers are what ``process.py`` writes and reads: one JSON object a line on standard output, of which the
last one has ``result`` or ``failed``. What TensorRT itself prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from natdeploy.engines.tensorrt_module import Failed, imported, load_plugin, logger

_PR_SET_PDEATHSIG = 1  # of Linux' sys/prctl.h


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
    trt = imported(request["module"])
    log = logger(trt)
    if request["action"] == "probe":
        load_plugin(trt, log, request["plugin"])
        return {"version": str(trt.__version__)}
    from natdeploy.engines.network import build

    try:
        builder = trt.Builder(log)  # first of all: what is said before there is one goes nowhere
    except TypeError as error:  # its factory returned nothing
        raise Failed("build", log.messages or [str(error)]) from error
    load_plugin(trt, log, request["plugin"])
    return build(trt, builder, log, request, tell)


def _die_with(parent: int) -> None:
    """End when the process ends that wants the answer, even if that is killed: nobody else would."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _write(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()
