"""plugins/examples/classify.cpp on tests/cpp/pretended_gpu, a TensorRT and a CUDA of host memory, and plans for it."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from engines.plans import engine
from plugins.example_build import EXAMPLES, FLAGS, SANITIZED, json_include, older_tensorrt_headers
from plugins.trt_build import ROOT, built, cuda_root, run, tensorrt_headers

PRETENDED = ROOT / "tests" / "cpp" / "pretended_gpu"


@dataclass(frozen=True)
class Flavour:
    """Which TensorRT is pretended.

    Args:
        backend: As sidecars call it.
        version: Of the headers.
        options: Of the compiler.
    """

    backend: str
    version: str
    options: tuple[str, ...] = ()

    def headers(self) -> Path:
        """The folder of its headers."""
        return older_tensorrt_headers("TRT-RTX-1.7") if self.options else tensorrt_headers()


TENSORRT = Flavour("tensorrt", "11.4.0.106")
TENSORRT_RTX = Flavour("tensorrt-rtx", "1.7.1.116", ("-DNATDEPLOY_EXAMPLES_TENSORRT_RTX",))
_OF_FLAVOUR = ("classify.cpp", "tensorrt.cpp")  # all else is compiled once

Change = tuple[str, str, str]  # a file of plugins/examples, what stands there, and what shall


def program(directory: Path, changes: list[Change] | None = None, flavour: Flavour = TENSORRT) -> Path:
    """Give classify with the pretended GPU; ``changes`` of its sources are compiled in ``directory``."""
    objects = _objects(flavour)
    texts: dict[str, str] = {}
    for name, before, after in changes or []:
        text = texts.get(name, (EXAMPLES / name).read_text("utf-8"))
        assert text.count(before) == 1, (name, before)
        texts[name] = text.replace(before, after)
    for name, text in texts.items():
        (directory / name).write_text(text, "utf-8")
        _compile(directory / name, directory / f"{name}.o", flavour, "-I", EXAMPLES)
    every = [path if not (directory / path.name).exists() else directory / path.name for path in objects]
    run("g++", *SANITIZED, *every, "-o", directory / "classify", "-pthread")
    return directory / "classify"


@cache
def _objects(flavour: Flavour) -> list[Path]:
    def build(directory: Path) -> None:
        (directory / "unused.h").write_text(_unused(flavour.headers()), "utf-8")
        for source in _sources():
            if flavour is TENSORRT or source.name in _OF_FLAVOUR:
                _compile(source, directory / f"{source.name}.o", flavour, "-isystem", directory)

    folder = built(f"pretended-{flavour.backend.replace('-', '_')}", (EXAMPLES, PRETENDED, Path(__file__)), build)
    shared = folder if flavour is TENSORRT else _objects(TENSORRT)[0].parent
    return [(folder if s.name in _OF_FLAVOUR else shared) / f"{s.name}.o" for s in _sources()]


def _sources() -> list[Path]:
    names = ("application", "classify", "files", "images", "metadata", "plan", "png_images", "preprocessing")
    return [*(EXAMPLES / f"{name}.cpp" for name in names), *PRETENDED.glob("*.cpp")]


def _compile(source: Path, target: Path, flavour: Flavour, *options: object) -> None:
    systems = [path for path in (json_include(), flavour.headers(), cuda_root() / "include") if path is not None]
    includes = [word for path in systems for word in ("-isystem", path)]
    # Without vptr: the pretended classes have no typeinfo for what the headers declare.
    flags = (*FLAGS, *SANITIZED, "-fno-sanitize=vptr", "-I", PRETENDED, *flavour.options)
    run("g++", *flags, *includes, *options, "-c", source, "-o", target)


def _unused(headers: Path) -> str:
    """Write classes that end the program in every virtual function of TensorRT's headers."""
    text = "#include <cstdlib>\n"
    for header, space, names in (
        ("NvInferImpl.h", "nvinfer1::apiv", ("VRuntime", "VRuntimeConfig", "VCudaEngine", "VExecutionContext")),
        ("NvInferRuntimeCommon.h", "nvinfer1", ("IPluginRegistry",)),
    ):
        declared = re.sub(r"//[^\n]*", "", (headers / header).read_text("utf-8"))
        for name in names:
            found = re.search(rf"\nclass {name}\b[^;{{]*\{{(.*?)\n\}};", declared, re.DOTALL)
            assert found is not None, name
            functions = re.findall(r"virtual ([^;~]*?)\s*= 0;", found[1])
            body = "".join(f"  {function} override {{ std::abort(); }}\n" for function in functions)
            text += f"namespace {space} {{\nclass Unused{name} : public {name} {{ public:\n{body}}};\n}}\n"
    return text


def write_plan(
    path: Path,
    metadata: Mapping[str, Any],
    weights: npt.NDArray[np.float32],
    batch: tuple[int, int] = (1, 2),
    edit: Callable[[dict[str, Any]], None] = lambda part: None,
    needs_plugin: int = 1,
    flavour: Flavour = TENSORRT,
) -> Path:
    """Write a plan that multiplies by ``weights`` ``[classes, *shape of an image]``, and its sidecar.

    Args:
        path: Of the plan.
        metadata: The sidecar's, but for its part ``engine``.
        weights: As float32.
        batch: The least and the most images.
        edit: Changes the part ``engine``.
        needs_plugin: 0: no; 1: yes; 2: yes, and it carries the library.
        flavour: Which TensorRT it is for.
    """
    is_uint8 = metadata["preprocessing"].get("input_format") == "uint8-nhwc"
    head = struct.pack("<8s8i", b"PRETEND", *batch, *weights.shape[1:], len(weights), is_uint8, needs_plugin)
    path.write_bytes(head + weights.astype("<f4").tobytes())
    part = engine(path.read_bytes(), backend=flavour.backend, version=flavour.version)
    edit(part)
    path.with_name(f"{path.name}.json").write_text(json.dumps({**metadata, "engine": part}), "utf-8")
    return path
