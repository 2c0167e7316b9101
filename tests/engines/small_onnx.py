"""An ONNX file that runs at once and carries natdeploy's metadata: what engines are tested with where numbers count."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from natdeploy.models.variants import VARIANTS
from natdeploy.onnx_files.metadata import KEY, Metadata
from natdeploy.preprocessing import Preprocessing
from natdeploy.size_limits import SizeLimits

_DIRECTORY = tempfile.TemporaryDirectory(prefix="natdeploy-small-onnx-")
CLASSES = 10


@cache
def small_onnx(free: bool = False) -> Path:
    """Figures of each image, and a linear layer of them.

    Args:
        free: For images of 40 to 72 pixels and a batch of 3; else of 32x32 and any batch.
    """
    make = onnx.helper.make_node
    figures = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"]
    nodes = [make(op_type, ["pixel_values", "axes"], [op_type], keepdims=0) for op_type in figures]
    nodes += [make("Concat", figures, ["pooled"], axis=1), make("MatMul", ["pooled", "weights"], ["logits"])]
    weights = np.random.default_rng(0).standard_normal((4, CLASSES)).astype(np.float32)
    constants = {"axes": np.array([2, 3]), "weights": weights}
    batch, height, width = (3, "height", "width") if free else ("batch", 32, 32)
    shapes = {"pixel_values": [batch, 1, height, width], "logits": [batch, CLASSES], "pooled": [batch, 4]}
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n, shape in shapes.items()]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "small", values[:1], values[1:], initializers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    model.metadata_props.add(key=KEY, value=_metadata(free).to_json())
    path = Path(_DIRECTORY.name) / ("free.onnx" if free else "fixed.onnx")
    onnx.save(model, path)
    return path


def _metadata(free: bool) -> Metadata:
    low, high = (40, 72) if free else (32, 32)
    return Metadata(
        form="portable",
        config=dataclasses.replace(VARIANTS["nat_mini"].config, num_channels=1, num_labels=CLASSES),
        labels=tuple(map(str, range(CLASSES))),
        preprocessing=dataclasses.replace(Preprocessing.of_imagenet(low, num_channels=1), channel_order="L"),
        size_limits=SizeLimits((low, low), (high, high), 3 if free else None),
        outputs=("logits", "pooled"),
        probes=(),
        variant=None,
        checkpoint_source="nowhere",
        checkpoint_sha256="0" * 64,
    )
