"""plugins/examples/classify.cpp from plan and images to guesses, on a pretended TensorRT and CUDA of host memory."""

from __future__ import annotations

import json
import re

import command_line
import numpy as np
import onnx
import pytest
from command_line import digits_onnx
from onnx import helper, numpy_helper
from PIL import Image
from plugins.pretended_gpu import program, write_plan
from plugins.trt_build import attempt

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


def weights(shape):
    """Of a network that looks at every value of the image: nearby guesses, all of which move with each."""
    return np.random.default_rng(5).normal(0, 0.01, (CLASSES, *shape)).astype(np.float32)


def metadata():
    """The document of an export, for coloured images of another size than height = width."""
    (entry,) = (entry for entry in onnx.load(digits_onnx()).metadata_props if entry.key == "natdeploy")
    document = json.loads(entry.value)
    document["config"]["num_channels"] = 3
    sizes = {"height": [HEIGHT, HEIGHT], "width": [WIDTH, WIDTH], "batch": None}
    return {**document, "preprocessing": RECIPE, "sizes": sizes}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a network as a plan and as an ONNX file, five images, and what natdeploy infers from them."""
    folder = tmp_path_factory.mktemp("classify")
    write_plan(folder / "model.plan", metadata(), weights((3, HEIGHT, WIDTH)))
    (folder / "libnatdeploy_trt.so").touch()
    write_onnx(folder / "model.onnx")
    generator = np.random.default_rng(8)
    for number, (height, width) in enumerate([(60, 90), (31, 33), (24, 40), (100, 37), (200, 300)]):
        coarse = generator.integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number}.ppm")
    result = command_line.run("infer", folder / "model.onnx", *images(folder), "--json")
    assert result.status == 0, result.err
    return folder, [[(guess["index"], guess["probability"]) for guess in one["guesses"]] for one in result.json]


def images(folder):
    return sorted(folder.glob("*.ppm"))


def write_onnx(path):
    """The same network for ONNX Runtime."""
    matrix = numpy_helper.from_array(weights((3, HEIGHT, WIDTH)).reshape(CLASSES, -1).T.copy(), "weights")
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


@pytest.fixture(scope="module")
def classify(tmp_path_factory):
    return program(tmp_path_factory.mktemp("program"))


def guesses_of(text):
    """Read what a program printed: guesses of every image, and the latency line."""
    found, latency = [], ""
    for line in text.splitlines():
        if guess := re.fullmatch(r" +(\d+)  (0\.\d{6}|1\.000000)  (.+)", line):
            found[-1].append((int(guess[1]), float(guess[2])))
        elif line.startswith("latency "):
            latency = line
        else:  # the name of an image
            found.append([])
    return found, latency


def run(classify, folder, plan="model.plan", *more, **environment):
    plugin = ("--plugin", folder / "libnatdeploy_trt.so")
    return attempt(classify, folder / plan, *plugin, *images(folder), "--repeat", "3", *more, **environment)


def agrees(done, expected):
    """Whether a run gave the guesses that natdeploy gives: the same classes, probabilities within 1e-4."""
    if done.returncode != 0:
        return False
    found, _ = guesses_of(done.stdout)
    return len(found) == len(expected) and all(
        [index for index, _ in a] == [index for index, _ in b]
        and np.allclose([p for _, p in a], [p for _, p in b], rtol=0, atol=1e-4)
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("batch", [(1, 2), (1, 8), (3, 3), (2, 4)], ids=lambda batch: f"batch {batch[0]} to {batch[1]}")
def test_guesses_are_those_of_natdeploy(classify, world, batch):
    folder, expected = world
    write_plan(folder / "other.plan", metadata(), weights((3, HEIGHT, WIDTH)), batch)
    done = run(classify, folder, "other.plan")
    assert done.stderr == ""
    assert agrees(done, expected)
    runs = {(1, 2): 2, (1, 8): 5, (3, 3): 3, (2, 4): 4}[batch]
    assert re.fullmatch(
        rf"latency \d+\.\d{{3}} ms, 95 % below \d+\.\d{{3}} ms: 3 runs of batch {runs} by the CPU's clock, copies .*",
        guesses_of(done.stdout)[1],
    )


def test_pixels_go_in_as_they_are_where_the_file_normalises(classify, world):
    """uint8-nhwc: the network here normalises too, by weights and a shift that softmax does not see."""
    folder, expected = world
    recipe = {**RECIPE, "input_format": "uint8-nhwc"}
    deviation = 255 * np.array(RECIPE["std"], np.float64)
    matrix = weights((3, HEIGHT, WIDTH)).astype(np.float64) / deviation[None, :, None, None]
    shift = (matrix * 255 * np.array(RECIPE["mean"])[None, :, None, None]).sum((1, 2, 3))
    matrix = np.ascontiguousarray(np.moveaxis(matrix, 1, -1)).astype(np.float32)
    write_plan(folder / "uint8.plan", {**metadata(), "preprocessing": recipe}, matrix)
    done = run(classify, folder, "uint8.plan", "--top", str(CLASSES))
    assert done.stderr == ""
    found, _ = guesses_of(done.stdout)
    for guesses, wanted in zip(found, expected, strict=True):
        logits = np.full(CLASSES, -np.inf)
        for index, probability in guesses:
            logits[index] = np.log(probability) - shift[index]
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        assert np.argsort(-probabilities)[:5].tolist() == [index for index, _ in wanted]
        assert np.allclose(np.sort(probabilities)[::-1][:5], [p for _, p in wanted], rtol=0, atol=1e-3)


EACH_PICTURE = "    for (size_t i = 0; i < batches.batch; ++i) {\n"
FAULTS = {
    "images copied after the launch": [
        ("application.cpp", "    batches.run();\n", ""),
        ("application.cpp", EACH_PICTURE, f"    batches.run();\n{EACH_PICTURE}"),
    ],
    "graph without the copy of the images": [
        ("classify.cpp", "[this] { enqueue(); });", "[this] { recorded_ = true; enqueue(); });"),
        ("classify.cpp", "    check(cudaMemcpyAsync(pictures,", "    if (!recorded_) check(cudaMemcpyAsync(pictures,"),
        ("classify.cpp", "  size_t batch_ = 0;\n", "  size_t batch_ = 0;\n  bool recorded_ = false;\n"),
    ],
    "results from another address": [("classify.cpp", "on_gpu_.at(kOutput).get()", 'on_gpu_.at("pooled").get()')],
    "channels swapped": [("preprocessing.cpp", "values[c * plane + i]", "values[(channels - 1 - c) * plane + i]")],
    "results read before they are there": [
        ("classify.cpp", "    graph_->launch(stream_);\n    stream_.wait();\n", "    graph_->launch(stream_);\n"),
    ],
    "first run recorded": [("classify.cpp", "    enqueue();\n    stream_.wait();\n", "")],
    "batches one image short": [
        ("application.cpp", "first += batches.batch)", "first += batches.batch + (batches.batch > 1))")
    ],
}


@pytest.mark.slow  # 5 s each, of which the compiler takes most
@pytest.mark.parametrize("changes", FAULTS.values(), ids=FAULTS)
def test_faults_are_seen(world, tmp_path, changes):
    folder, expected = world
    assert not agrees(run(program(tmp_path, changes), folder), expected)
