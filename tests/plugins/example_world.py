"""A classifier of one matrix as an ONNX file and as a plan of the pretended TensorRT, images, and what it finds."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import numpy.typing as npt
import onnx
from command_line import digits_onnx
from onnx import helper, numpy_helper
from PIL import Image

CLASSES, HEIGHT, WIDTH = 10, 24, 40
RECIPE = {
    "crop_size": [HEIGHT, WIDTH],
    "resize_edge": 28,
    "interpolation": "bicubic",
    "resize": True,
    "center_crop": True,
    "channel_order": "RGB",
    "value_range": 1.0,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "antialias": True,
}
Guesses = list[list[tuple[int, float]]]  # of every image: class and probability, best first


@dataclass(frozen=True)
class World:
    """A folder with images, and what natdeploy infers from them."""

    folder: Path
    expected: Guesses

    @property
    def images(self) -> list[Path]:
        """In the order of ``expected``."""
        return sorted(self.folder.glob("*.ppm"))


@cache
def weights() -> npt.NDArray[np.float32]:
    """``[classes, 3, height, width]`` of a network that looks at every value of an image: guesses close together."""
    return np.random.default_rng(5).normal(0, 0.01, (CLASSES, 3, HEIGHT, WIDTH)).astype(np.float32)


def metadata() -> dict[str, Any]:
    """The document of an export, for coloured images that are wider than high."""
    (entry,) = (entry for entry in onnx.load(digits_onnx()).metadata_props if entry.key == "natdeploy")
    document = json.loads(entry.value)
    document["config"]["num_channels"] = 3
    sizes = {"height": [HEIGHT, HEIGHT], "width": [WIDTH, WIDTH], "batch": None}
    return {**document, "preprocessing": RECIPE, "sizes": sizes}


def write_images(folder: Path) -> list[Path]:
    """Five soft pictures, upright and wide, larger and smaller than the crop."""
    generator = np.random.default_rng(8)
    paths = []
    for number, (height, width) in enumerate([(60, 90), (31, 33), (24, 40), (100, 37), (200, 300)]):
        coarse = generator.integers(0, 256, (5, 6, 3), np.uint8)
        paths.append(folder / f"{number}.ppm")
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def make_world(folder: Path) -> World:
    """Write the ONNX file and the images, and let natdeploy infer."""
    write_onnx(folder / "model.onnx")
    return World(folder, inferred(folder / "model.onnx", write_images(folder)))


def write_onnx(path: Path) -> None:
    """Write the network for ONNX Runtime."""
    matrix = numpy_helper.from_array(weights().reshape(CLASSES, -1).T.copy(), "weights")
    nodes = [
        helper.make_node("Flatten", ["pixel_values"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    given = helper.make_tensor_value_info("pixel_values", onnx.TensorProto.FLOAT, ["batch", 3, HEIGHT, WIDTH])
    found = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, "linear", [given], [found], [matrix])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"natdeploy": json.dumps(metadata())})
    onnx.save(model, path)


def inferred(artifact: Path, images: list[Path]) -> Guesses:
    """What `natdeploy infer` says."""
    result = command_line.run("infer", artifact, *images, "--json")
    assert result.status == 0, result.err
    return [[(guess["index"], guess["probability"]) for guess in one["guesses"]] for one in result.json]


def guesses_of(text: str) -> tuple[Guesses, str]:
    """Read what a program of the examples printed: guesses of every image, and the line on latency."""
    found: Guesses = []
    latency = ""
    for line in text.splitlines():
        if guess := re.fullmatch(r" +(\d+)  (0\.\d{6}|1\.000000)  (.+)", line):
            found[-1].append((int(guess[1]), float(guess[2])))
        elif line.startswith("latency "):
            latency = line
        else:  # the name of an image
            found.append([])
    return found, latency


def agree(found: Guesses, expected: Guesses) -> bool:
    """Whether the classes are the same, and the probabilities within 1e-4."""
    return len(found) == len(expected) and all(
        [index for index, _ in a] == [index for index, _ in b]
        and np.allclose([p for _, p in a], [p for _, p in b], rtol=0, atol=1e-4)
        for a, b in zip(found, expected, strict=True)
    )
