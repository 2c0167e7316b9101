"""Plans as far as one can tell without TensorRT: a header, and a sidecar as ``natdeploy build-engine`` wrote it."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from command_line import digits_onnx
from onnx import load

TAGS = {"tensorrt": b"ftrt", "tensorrt-rtx": b"vtrt"}


def plan_bytes(backend: str = "tensorrt-rtx", version: tuple[int, ...] = (1, 7, 1, 116), size: int = 4096) -> bytes:
    """Lay out a header as TensorRT for RTX 1.7.1 does, and fill up with zeros."""
    header = TAGS[backend] + struct.pack("<IQQ", 0, 2, size) + bytes(version)
    return header.ljust(size, b"\0")


def engine(plan: bytes, **changes: Any) -> dict[str, Any]:
    """The engine part that belongs to a plan."""
    part = {
        "schema": 1,
        "natdeploy": "0.1.0",
        "plan": {"sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan)},
        "onnx": {"sha256": "0" * 64, "parsed_sha256": "0" * 64},
        "backend": "tensorrt-rtx",
        "version": "1.7.1.116",
        "gpu": None,
        "platform": {"system": "Linux", "machine": "x86_64"},
        "plugin": {
            "file": "libnatdeploy_trt.so",
            "sha256": "1" * 64,
            "natdeploy": "0.1.0",
            "kernel_version": 1,
            "cuda_version": "13.0",
            "cuda_architectures": ["90-real"],
            "embedded": False,
            "creators": [{"name": "PackedNeighborhoodAttention", "version": "1", "namespace": "natdeploy", "nodes": 1}],
        },
        "layers": 7,
        "attention_layers": {"stages.0.blocks.0.attention": "float16"},
        "profiles": [{"pixel_values": {"min": [1, 1, 32, 32], "opt": [1, 1, 32, 32], "max": [8, 1, 32, 32]}}],
        "inputs": [{"name": "pixel_values", "dtype": "float32", "shape": [-1, 1, 32, 32]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [-1, 10]}],
        "options": {
            "precision": "fp32",
            "tf32": False,
            "optimization_level": 3,
            "workspace_bytes": None,
            "version_compatible": False,
            "hardware_compatibility": "NONE",
            "config": {"TF32": "0"},
        },
        "build_seconds": 1.5,
    }
    return {**part, **changes}


def write_plan(path: Path, with_metadata: bool = True, **changes: Any) -> Path:
    """Write a plan and the sidecar that belongs to it, apart from ``changes`` of its engine part."""
    path.write_bytes(plan_bytes())
    metadata: dict[str, Any] = {}
    if with_metadata:
        (entry,) = (entry for entry in load(digits_onnx()).metadata_props if entry.key == "natdeploy")
        metadata = json.loads(entry.value)
    document = {**metadata, "engine": engine(path.read_bytes(), **changes)}
    path.with_name(f"{path.name}.json").write_text(json.dumps(document), "utf-8")
    return path
