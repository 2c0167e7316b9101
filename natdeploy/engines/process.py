"""Starting the worker (worker.py), following its progress, and saying in one paragraph how it failed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from natdeploy.engines.backends import Backend
from natdeploy.errors import NatdeployError

# The same packages as here, whatever folder the command runs in: a module called tensorrt.py there is none of ours.
_CODE = "import sys; sys.path[:] = {path!r}; from natdeploy.engines.worker import main; main()"

_FAILURES = {
    "import": ("{title} is installed, but cannot be loaded", "Install it whole: pip install -U 'natdeploy[{extra}]'"),
    "plugin": ("{title} {version} does not take the plugin library '{plugin}'", ""),
    "parse": ("{title} {version} cannot parse '{file}'", ""),
    "network": (
        "{title} {version} would compute attention layers of '{file}' by something else than the plugin",
        "Write the file with `natdeploy export`, whose nodes name the plugin's namespace and version",
    ),
    "config": ("{title} {version} cannot be configured like that", "Correct --config or --timing-cache"),
    "build": ("{title} {version} could not build an engine from '{file}'", ""),
    "runtime": ("{title} {version} cannot be started", "Run `natdeploy doctor`, which says what is missing"),
    "write": ("cannot write the plan", "Free some space or choose another place with -o"),
}


def answer_of_worker(
    backend: Backend, request: dict[str, Any], file: str, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Let a worker do what a request says.

    Args:
        backend: Which TensorRT.
        request: ``action`` (``probe`` or ``build``), ``plugin`` (a path or None) and, to build, what ``builder.py``
            writes.
        file: What to call the ONNX file in errors.
        progress: Gets the share that is done, from 0 to 1.

    Returns:
        The worker's result.

    Raises:
        NatdeployError: If it failed, with everything that TensorRT said, or if it crashed.
    """
    request = {**request, "module": backend.module(), "parent": os.getpid()}
    with tempfile.TemporaryDirectory(prefix="natdeploy-engine-") as name:
        directory = Path(name)
        environment = dict(os.environ)
        if (link := backend.library_link()) is not None:
            (directory / link[0]).symlink_to(link[1])
            before = environment.get("LD_LIBRARY_PATH")
            environment["LD_LIBRARY_PATH"] = os.pathsep.join([name, before] if before else [name])
        (directory / "request.json").write_text(json.dumps(request), "utf-8")
        code = _CODE.format(path=[entry or str(Path.cwd()) for entry in sys.path])
        command = [sys.executable, "-c", code, str(directory / "request.json")]
        with (directory / "stderr").open("w+", encoding="utf-8", errors="replace") as stderr:
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, text=True
            )
            with _ended_at_last(process):
                last = _last_message(process, progress)
                status = process.wait()
            stderr.seek(0)
            said = stderr.read()
    if "result" in last:
        return dict(last["result"])
    raise _failure(backend, last.get("failed"), file, str(request["plugin"]), _how(status), said)


def error_of_stage(backend: Backend, stage: str, problems: Iterable[object], file: str, plugin: str) -> NatdeployError:
    """Say which step failed, by the name that ``Failed`` gave it, and why."""
    version = backend.installed_version() or ""
    words = {"title": backend.title, "version": version, "extra": backend.extra, "file": file, "plugin": plugin}
    what, next_step = (text.format(**words) for text in _FAILURES[stage])
    said = "; ".join(str(problem).rstrip(".") for problem in problems)
    return NatdeployError(" ".join(what.split()), got=said, next_step=next_step or None)


def _failure(
    backend: Backend, failed: dict[str, Any] | None, file: str, plugin: str, how: str, said: str
) -> NatdeployError:
    """Say what a worker told of its failure, or, where it told nothing, how it ended and what it said last."""
    if failed is not None:
        return error_of_stage(backend, failed["stage"], failed["problems"], file, plugin)
    version = backend.installed_version() or ""
    return NatdeployError(
        " ".join(f"{backend.title} {version} ended its process while it worked on '{file}': {how}".split()),
        got=" ".join(" ".join(said.splitlines()[-3:]).split())[-600:] or None,
        next_step="Run `natdeploy doctor`; --dry-run tells whether parsing or building ends it",
    )


def _last_message(process: subprocess.Popen[str], progress: Callable[[float], None]) -> dict[str, Any]:
    last: dict[str, Any] = {}
    assert process.stdout is not None
    for line in process.stdout:
        try:
            last = json.loads(line)
        except ValueError:  # cut off by its end
            break
        if "progress" in last:
            progress(last["progress"])
    return last


@contextlib.contextmanager
def _ended_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"
