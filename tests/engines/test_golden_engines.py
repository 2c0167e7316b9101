"""Every golden model as an engine of TensorRT for RTX, in the precisions, sizes and forms that one may ask for.

The golden data have nine models, and each has twelve combinations. Every test run builds two per model, so that each
combination is built for some model; ``--all-engines`` builds all, which takes minutes.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import onnx
import pytest
from engines import rtx
from golden import GOLDEN, MODELS

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.onnx_files.export import onnx_from_checkpoint
from natdeploy.onnx_files.settings import ExportSettings

pytestmark = pytest.mark.slow

PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
SIZES = {"fixed": {"image_size": (64, 96), "batch": 2}, "free": {"dynamic_size": (64, 128)}}
ISOTROPIC = {"fixed": {"batch": 2}, "free": {}}  # its map is a part of the checkpoint: only the batch can be free
FORMS = ("hybrid", "portable")
COMBINATIONS = list(itertools.product(PRECISIONS, SIZES, FORMS))

# One process for all engines of a model: most of a build of such a small one is starting Python.
BUILD = """
import json, sys
from natdeploy.engines.builder import engine_from_onnx
from natdeploy.engines.settings import EngineSettings
for source, plan, precision in json.load(sys.stdin):
    engine_from_onnx(source, plan, EngineSettings(backend="tensorrt-rtx", precision=precision))
"""


def combinations_of(model: str, everything: bool) -> list[tuple[str, str, str]]:
    """Choose what to build: all, or two that differ in precision, sizes and form."""
    first = 2 * MODELS.index(model)
    return COMBINATIONS if everything else [COMBINATIONS[(first + 7 * step) % 12] for step in range(2)]


def test_every_combination_is_built_for_some_model():
    chosen = {combination for model in MODELS for combination in combinations_of(model, everything=False)}
    assert chosen == set(COMBINATIONS)


@pytest.mark.parametrize("model", MODELS)
def test_every_attention_layer_is_a_plugin(model: str, tmp_path: Path, request: pytest.FixtureRequest):
    checkpoint = weights_from_checkpoint(GOLDEN / model)
    settings = ISOTROPIC if model == "shi_isotropic" else SIZES
    shapes = {"fixed": [2, 3, 64, 96], "free": [-1, 3, -1, -1]}
    if model == "shi_isotropic":
        shapes = {"fixed": [2, 3, 64, 64], "free": [-1, 3, 64, 64]}
    wanted, order = combinations_of(model, request.config.getoption("--all-engines")), []
    for precision, sizes, form in wanted:
        source = tmp_path / f"{sizes}.{form}.onnx"
        if not source.exists():
            onnx_from_checkpoint(checkpoint, source, ExportSettings(form=form, **settings[sizes]))
        order.append((str(source), str(tmp_path / f"{precision}.{sizes}.{form}.plan"), precision))
    command = [str(rtx.python()), "-c", BUILD]
    done = subprocess.run(
        command,
        input=json.dumps(order),
        capture_output=True,
        text=True,
        env=rtx.environment(),
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (precision, sizes, form), (source, plan, _) in zip(wanted, order, strict=True):
        engine = json.loads(Path(f"{plan}.json").read_text("utf-8"))["engine"]
        nodes = [node for node in onnx.load(source).graph.node if node.domain == "natdeploy"]
        assert bool(nodes) == (form == "hybrid")
        assert list(engine["attention_layers"].values()) == [PRECISIONS[precision]] * len(nodes)
        assert engine["inputs"][0]["shape"] == shapes[sizes]
        assert Path(plan).stat().st_size == engine["plan"]["bytes"] > 0
