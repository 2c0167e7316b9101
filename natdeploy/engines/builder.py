"""``engine_from_onnx``: one command from an ONNX file to a plan and its sidecar."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natdeploy.engines.parser_input import ParserInput, parser_input
from natdeploy.engines.process import answer_of_worker
from natdeploy.engines.profiles import Points, profile_of
from natdeploy.engines.settings import EngineSettings
from natdeploy.engines.sidecar import engine_part, sidecar_document, sidecar_path
from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import check_target, interrupted_later, writing_beside
from natdeploy.ordinary_files import special_kind
from natdeploy.plugin_library import checked_plugin_library
from natdeploy.precision.check import NumbersCheck
from natdeploy.precision.convert import PrecisionReport


@dataclass(frozen=True)
class EngineSummary:
    """What was built, or would be.

    Args:
        path: The plan.
        sidecar: The document beside it; of a dry run what is known without building.
        precision: What a conversion to a half type did, and what a run of it showed; None where there was none.
    """

    path: Path
    sidecar: dict[str, Any]
    precision: tuple[PrecisionReport, NumbersCheck] | None = None


def engine_from_onnx(
    source: str | Path,
    path: str | Path,
    settings: EngineSettings | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> EngineSummary:
    """Build an engine; the plan and its sidecar (``PATH.json``) replace older ones when both are complete.

    Args:
        source: ONNX file of any form, also one that natdeploy did not write.
        path: The plan.
        settings: How to build; by default for everything that the file accepts.
        progress: Gets the share that is done, from 0 to 1.

    Returns:
        What was built.

    Raises:
        NatdeployError: If anything does not fit or TensorRT refuses, with all that it said; old files are untouched.
    """
    source, path, settings = Path(source), Path(path), settings or EngineSettings()
    check_target(path, ".plan")
    backend = settings.checked_backend()
    _check_timing_cache(settings.timing_cache)
    with writing_beside(path) as directory:
        strip = backend.prefers_functions(backend.installed_version() or "")
        given = parser_input(source, directory, strip, settings.precision)
        profile = profile_of(given.inputs, settings.shapes, given.metadata, source.name)
        plugin = _plugin_library(given, settings)
        request = _request(given, profile, plugin, settings, directory, path.name)
        seen = answer_of_worker(backend, request, source.name, progress)
        part = engine_part(backend, given, profile, plugin, settings, seen)
        document = sidecar_document(given.metadata, part)
        if not settings.dry_run:
            _put_in_place(path, document, directory)
            _keep_timing_cache(directory / "timing_cache", settings.timing_cache)
    return EngineSummary(path, document, given.precision)


def _put_in_place(path: Path, document: dict[str, Any], directory: Path) -> None:
    """Rename the sidecar, then the plan: who is killed in between leaves the old plan, and a sidecar that says so."""
    sidecar = sidecar_path(path)
    (directory / sidecar.name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    with interrupted_later():
        (directory / sidecar.name).replace(sidecar)
        (directory / path.name).replace(path)


def _keep_timing_cache(written: Path, wanted: Path | None) -> None:
    if wanted is not None:
        with writing_beside(wanted) as directory:
            shutil.copyfile(written, directory / wanted.name)
            (directory / wanted.name).replace(wanted)


def _plugin_library(given: ParserInput, settings: EngineSettings) -> Path | None:
    """Find the library where the file has the op; nothing else needs it."""
    if given.attention:
        return checked_plugin_library()
    if settings.embed_plugin:
        raise NatdeployError(
            "there is no plugin to embed: the file has no neighborhood attention node",
            next_step="Leave --embed-plugin out",
        )
    return None


def _request(
    given: ParserInput,
    profile: dict[str, Points],
    plugin: Path | None,
    settings: EngineSettings,
    directory: Path,
    plan: str,
) -> dict[str, Any]:
    """Write down what the worker is to do."""
    cache = settings.timing_cache
    return {
        "action": "build",
        "onnx": str(given.path.absolute()),
        "attention": given.attention,
        "plan": str((directory / plan).absolute()),
        "plugin": str(plugin) if plugin is not None else None,
        "profile": {name: [points.min, points.opt, points.max] for name, points in profile.items()},
        "workspace": settings.workspace,
        "optimization_level": settings.optimization_level,
        "embed_plugin": settings.embed_plugin,
        "version_compatible": settings.version_compatible,
        "config": dict(settings.config),
        "timing_cache": str(cache.absolute()) if cache is not None and cache.exists() else None,
        "timing_cache_out": str((directory / "timing_cache").absolute()) if cache is not None else None,
        "dry_run": settings.dry_run,
    }


def _check_timing_cache(path: Path | None) -> None:
    if path is None:
        return
    kind = "a directory" if path.is_dir() else special_kind(path)
    if kind is not None or not path.parent.is_dir():
        raise NatdeployError(
            f"cannot keep the timing cache in '{path}'",
            got=kind or f"no directory '{path.parent}'",
            needed="a file name in a directory that exists",
        )
