"""What docs/deploy.md tells people to type and to write, as far as a machine without a GPU can tell."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import run
from engines import rtx
from PIL import Image
from plugins.trt_build import attempt
from side_environments import ROOT, python_with

PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
TRITON = ("tritonclient==2.73.0", "protobuf>=6")

# Reads a config.pbtxt by Triton's own definition; the module is opened by its path since its package wants gRPC.
READ_PBTXT = """
import importlib.metadata, importlib.util, json, sys
from google.protobuf import json_format, text_format
(file,) = [f for f in importlib.metadata.files("tritonclient") if str(f) == "tritonclient/grpc/model_config_pb2.py"]
spec = importlib.util.spec_from_file_location("model_config_pb2", file.locate())
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
config = text_format.Parse(sys.stdin.read(), module.ModelConfig())
print(json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True)))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def natdeploy_lines() -> list[list[str]]:
    """Command lines of the page that call natdeploy, without the comments behind them."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("natdeploy ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's commands of natdeploy have run, and an image."""
    folder = tmp_path_factory.mktemp("deploy")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    lines = natdeploy_lines()
    assert [line[0] for line in lines] == ["export", "export", "build-engine"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in lines:
            done = rtx.run(*line, cwd=folder) if line[0] == "build-engine" else run(*line)
            assert done.status == 0, done.err
    return folder


def values(path: Path) -> dict[str, tuple[int, list[int]]]:
    """Type and shape without the batch of a file's inputs and outputs; the batch is free."""
    graph = onnx.load(path).graph
    found = {}
    for value in (*graph.input, *graph.output):
        batch, *shape = value.type.tensor_type.shape.dim
        assert not batch.dim_value
        found[value.name] = (value.type.tensor_type.elem_type, [dim.dim_value for dim in shape])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1], ids=["plan", "onnx"])
def test_triton_reads_the_configurations_and_the_files_are_as_they_say(folder: Path, position: int):
    python = python_with(*TRITON)
    text = blocks("pbtxt")[position]
    done = subprocess.run([python, "-c", READ_PBTXT], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    types = {"TYPE_FP32": onnx.TensorProto.FLOAT, "TYPE_UINT8": onnx.TensorProto.UINT8}
    told = {
        entry["name"]: (types[entry["data_type"]], [int(size) for size in entry["dims"]])
        for entry in (*config["input"], *config["output"])
    }
    assert told == values(folder / ("nat_mini.onnx", "nat_mini.uint8.onnx")[position])
    engine = json.loads((folder / "nat_mini.plan.json").read_text("utf-8"))["engine"]
    assert config["max_batch_size"] == engine["profiles"][0]["pixel_values"]["max"][0]
    assert config["platform"] == ("tensorrt_plan", "onnxruntime_onnx")[position]
    if position == 0:
        assert {(t["name"], t["dtype"], tuple(t["shape"][1:])) for t in (*engine["inputs"], *engine["outputs"])} == {
            (name, "float32", tuple(shape)) for name, (_, shape) in told.items()
        }
        assert len(engine["attention_layers"]) == 18


@pytest.mark.slow
def test_the_program_for_onnx_runtime_gives_what_infer_gives(folder: Path):
    (program,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    guess = run("infer", folder / "nat_mini.onnx", folder / "photo.png", "--json").json[0]["guesses"][0]
    assert int(done.stdout) == guess["index"]


@pytest.mark.slow
def test_deepstream_hands_over_what_the_file_takes(folder: Path):
    files = []
    for block in blocks("ini"):
        files.append(configparser.ConfigParser(delimiters=("=",)))
        files[-1].read_string(block)
    preprocess, infer = (file["property"] for file in files)
    elem_type, shape = values(folder / "nat_mini.uint8.onnx")[preprocess["tensor-name"]]
    batch, *told = map(int, preprocess["network-input-shape"].split(";"))
    assert told == shape and batch == infer.getint("batch-size")
    assert [preprocess.getint("processing-height"), preprocess.getint("processing-width")] == shape[:2]
    # 1: UINT8, and 1: NHWC, in nvdspreprocess' tables
    assert (elem_type, preprocess["tensor-data-type"], preprocess["network-input-order"]) == (2, "1", "1")
    assert infer["output-blob-names"] in values(folder / "nat_mini.uint8.onnx")
    assert preprocess["target-unique-ids"] == infer["gie-unique-id"] and infer["input-tensor-from-meta"] == "1"


def test_the_shell_can_read_every_line():
    scripts = blocks("sh")
    assert len(scripts) > 3
    for script in scripts:
        done = attempt("bash", "-n", "-c", script)
        assert done.returncode == 0, done.stderr


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "plugins").rglob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name) if name else page
        if not linked.exists():
            wrong.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text("utf-8"), re.MULTILINE)
            wrong += [target] * (anchor not in map(_anchor, headings))
    assert not wrong
