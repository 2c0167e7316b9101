"""What is in a plan, as plain data: from its header and its sidecar, and from TensorRT on request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from natdeploy.engines.backends import BACKENDS
from natdeploy.engines.engine_facts import facts_from_tensorrt
from natdeploy.engines.gpu import visible_gpu
from natdeploy.engines.plan_header import PlanHeader, header_from_plan
from natdeploy.engines.sidecar import check_same_plan, read_sidecar, reasons_against_running, sidecar_path
from natdeploy.onnx_files.metadata import Metadata


def describe_plan(path: Path, load: bool = False) -> dict[str, Any]:
    """Describe a plan.

    Args:
        path: The plan; its sidecar is looked for beside it.
        load: Let TensorRT load it and say what it is, too; without, it is read as data and needs no TensorRT.

    Returns:
        Plain JSON types; ``sidecar`` is None where there is none, and then little more than the header is known.
        ``engine`` is what TensorRT says of it, None where it was not asked.

    Raises:
        NatdeployError: If it is no whole plan, its sidecar is damaged, the two do not belong together, or it shall be
            loaded and cannot be.
    """
    header = header_from_plan(path)
    found = read_sidecar(path)
    document: dict[str, Any] = {
        "kind": "plan",
        "file": path.name,
        "file_bytes": header.size_bytes,
        "built_by": f"{header.backend.title} {header.version}",
        "sidecar": None,
    }
    if found is None:
        return {**document, "engine": facts_from_tensorrt(path) if load else None}
    part, metadata = found
    check_same_plan(path, header, part)
    told = {"sidecar": sidecar_path(path).name, **_of_metadata(metadata), **_of_engine(header, part)}
    return {**document, **told, "engine": facts_from_tensorrt(path) if load else None}


def _of_metadata(metadata: Metadata | None) -> dict[str, Any]:
    if metadata is None:
        return {}
    return {
        "form": metadata.form,
        "family": metadata.config.family,
        "variant": metadata.variant,
        "checkpoint": {"source": metadata.checkpoint_source, "sha256": metadata.checkpoint_sha256},
        "labels": len(metadata.labels),
        "preprocessing": metadata.preprocessing.to_json(),
        "precision": dict(metadata.precision),
    }


def _of_engine(header: PlanHeader, part: Mapping[str, Any]) -> dict[str, Any]:
    shapes = [
        f"{name} {' / '.join('x'.join(map(str, points[key])) for key in ('min', 'opt', 'max'))}"
        for profile in part["profiles"]
        for name, points in profile.items()
    ]
    plugin = part["plugin"]
    if plugin is not None:
        names = ("file", "sha256", "natdeploy", "kernel_version", "cuda_architectures", "embedded")
        plugin = {name: plugin.get(name) for name in names}
    version = BACKENDS[part["backend"]].installed_version()
    return {
        "natdeploy": part["natdeploy"],
        "onnx_sha256": part["onnx"]["sha256"],
        "gpu": part["gpu"]["name"] if part["gpu"] else None,
        "inputs": part["inputs"],
        "outputs": part["outputs"],
        "shapes": shapes or ["fixed"],
        "layers": part["layers"],
        "attention_plugins": len(part["attention_layers"]),
        "attention_types": sorted(set(part["attention_layers"].values())),
        "plugin": plugin,
        "options": {name: value for name, value in part["options"].items() if name != "config" and value is not None},
        "config": dict(part["options"]["config"]) or None,
        "against_running_here": reasons_against_running(part, version, visible_gpu()),
    }
