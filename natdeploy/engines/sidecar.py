"""The document beside a plan, ``model.plan.json``: the file's metadata with an ``engine`` part (docs/design.md §4).

``engine.schema.json`` beside this file is the published schema of that part; what is read is checked against it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from natdeploy import __version__
from natdeploy.engines.backends import BACKENDS, Backend
from natdeploy.engines.gpu import Gpu, visible_gpu
from natdeploy.engines.parser_input import ParserInput, sha256_of
from natdeploy.engines.plan_header import PlanHeader
from natdeploy.engines.profiles import Points
from natdeploy.engines.settings import EngineSettings
from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.metadata import Metadata, metadata_from_json
from natdeploy.ops.spec import PLUGIN_NAMESPACE, PLUGIN_VERSION
from natdeploy.ordinary_files import refuse_special_file
from natdeploy.plugin_library import manifest_from_library
from natdeploy.versioned_document import refuse_newer, schema_in, schema_problems

SCHEMA_VERSION = 1
_LARGEST = 2**26  # bytes of a sidecar; labels are most of it


def sidecar_path(plan: Path) -> Path:
    """Name the sidecar of a plan."""
    return plan.with_name(f"{plan.name}.json")


def engine_part(
    backend: Backend,
    given: ParserInput,
    profile: Mapping[str, Points],
    plugin: Path | None,
    settings: EngineSettings,
    seen: Mapping[str, Any],
) -> dict[str, Any]:
    """Say what was built, from what, by what and for what.

    Args:
        backend: Which TensorRT.
        given: What its parser got.
        profile: The shapes.
        plugin: The library; None where no node needs it.
        settings: What was asked for.
        seen: The worker's result; without a plan after a dry run.
    """
    gpu = visible_gpu()
    plan = {"sha256": seen["sha256"], "bytes": seen["bytes"]} if "sha256" in seen else None
    return {
        "schema": SCHEMA_VERSION,
        "natdeploy": __version__,
        "plan": plan,
        "onnx": {"sha256": given.source_sha256, "parsed_sha256": given.parsed_sha256},
        "backend": backend.name,
        "version": seen["version"],
        "gpu": asdict(gpu) if gpu is not None and backend.needs_gpu else None,
        "platform": {"system": platform.system(), "machine": platform.machine()},
        "plugin": _plugin_part(plugin, given, settings) if plugin is not None else None,
        "layers": seen["layers"],
        "attention_layers": {name: seen["plugins"][name] for name in given.attention},
        "profiles": [{name: asdict(points) for name, points in profile.items()}] if profile else [],
        "inputs": seen["inputs"],
        "outputs": seen["outputs"],
        "options": {
            "precision": settings.precision,
            "tf32": seen["tf32"],
            "optimization_level": seen["optimization_level"],
            "workspace_bytes": settings.workspace,
            "version_compatible": settings.version_compatible,
            "hardware_compatibility": seen["hardware_compatibility"],
            "config": dict(settings.config),
        },
        "build_seconds": seen.get("seconds"),
    }


def _plugin_part(plugin: Path, given: ParserInput, settings: EngineSettings) -> dict[str, Any]:
    manifest = manifest_from_library(plugin)
    types = sorted(set(given.attention.values()))
    return {
        "file": plugin.name,
        "sha256": sha256_of(plugin),
        "natdeploy": str(manifest.get("natdeploy_version")),
        "kernel_version": manifest.get("kernel_version"),
        "cuda_version": str(manifest.get("cuda_version")),
        "cuda_architectures": list(manifest.get("cuda_architectures", ())),
        "embedded": settings.embed_plugin,
        "creators": [
            {
                "name": name,
                "version": PLUGIN_VERSION,
                "namespace": PLUGIN_NAMESPACE,
                "nodes": list(given.attention.values()).count(name),
            }
            for name in types
        ],
    }


def sidecar_document(metadata: Metadata | None, part: dict[str, Any]) -> dict[str, Any]:
    """Put the parts together; a file that natdeploy did not write gives an ``engine`` part alone."""
    return {**(json.loads(metadata.to_json()) if metadata is not None else {}), "engine": part}


def read_sidecar(plan: Path) -> tuple[dict[str, Any], Metadata | None] | None:
    """Read what stands beside a plan.

    Returns:
        The engine part, and the metadata of the file that it was built from; None where there is no sidecar.

    Raises:
        NatdeployError: If it is damaged or of a newer version.
    """
    path = sidecar_path(plan)
    refuse_special_file(path)
    try:
        text = path.read_bytes()[:_LARGEST].decode("utf-8")
        document = json.loads(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NatdeployError(f"cannot read '{path}'", got=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, [str(error)]) from error
    part = document.get("engine") if isinstance(document, dict) else None
    refuse_newer(part, SCHEMA_VERSION, f"'{path}'")
    if problems := schema_problems(part, schema_in("natdeploy.engines", "engine.schema.json"), "engine"):
        raise _damaged(path, problems)
    assert isinstance(part, dict)
    return part, metadata_from_json(text, path.name) if "config" in document else None


def check_same_plan(plan: Path, header: PlanHeader, part: Mapping[str, Any]) -> None:
    """Refuse a plan and a sidecar that do not belong together.

    Raises:
        NatdeployError: Naming what differs.
    """
    told = part["plan"] or {}
    differences = []
    if told.get("bytes") != header.size_bytes:
        differences.append(f"{header.size_bytes} bytes, the sidecar says {told.get('bytes')}")
    elif told.get("sha256") != sha256_of(plan):
        differences.append("other bytes than the sidecar's sha256 says")
    if part["backend"] != header.backend.name:
        differences.append(f"a plan of {header.backend.title}, the sidecar says {part['backend']}")
    if differences:
        raise NatdeployError(
            f"'{plan}' and '{sidecar_path(plan).name}' do not belong together",
            got="; ".join(differences),
            next_step="Copy both from where they were built, or build again with `natdeploy build-engine`",
        )


def reasons_against_running(part: Mapping[str, Any], version: str | None, gpu: Gpu | None) -> list[str]:
    """Compare a sidecar with a machine, before TensorRT tries to load the plan.

    Args:
        part: The engine part.
        version: Of the backend installed here; None where it is not.
        gpu: Of this machine; None where there is none.

    Returns:
        One sentence per difference that keeps the plan from running here.
    """
    backend = BACKENDS[part["backend"]]
    options = part["options"]
    reasons = []
    if version is None:
        reasons.append(f"{backend.title} is not installed: pip install 'natdeploy[{backend.extra}]'")
    elif version.split(".")[:4] != part["version"].split(".")[:4] and not options["version_compatible"]:
        reasons.append(
            f"it was built by {backend.title} {part['version']}, and {version} is installed: build it again with "
            "`natdeploy build-engine`"
        )
    here = (platform.system(), platform.machine())
    if (built := (part["platform"]["system"], part["platform"]["machine"])) != here:
        reasons.append(f"it was built for {' '.join(built)}, and this is {' '.join(here)}")
    if gpu is None:
        reasons.append("no NVIDIA GPU is visible")
    elif part["gpu"] and options["hardware_compatibility"] == "NONE" and part["gpu"]["name"] != gpu.name:
        reasons.append(
            f"it was built for {part['gpu']['name']}, and this is {gpu.name}: build it again here, or with "
            "--config hardware_compatibility_level=SAME_COMPUTE_CAPABILITY or AMPERE_PLUS"
        )
    return reasons


def _damaged(path: Path, problems: Sequence[str]) -> NatdeployError:
    return NatdeployError(
        f"the sidecar '{path}' is damaged",
        got="; ".join(problems)[:500],
        next_step="Copy it again, or build the plan again with `natdeploy build-engine`",
    )
