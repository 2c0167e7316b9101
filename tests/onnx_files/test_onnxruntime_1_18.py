"""ONNX Runtime 1.18, the oldest that we promise: it needs numpy 1, so it runs in an environment of its own."""

import json
import subprocess

import numpy as np
import pytest
from golden import golden_arrays
from onnx_files.exported import error, exported, run
from side_environments import python_with

from natdeploy.onnx_files.settings import ExportSettings

_RUN = """
import sys, numpy, onnxruntime
assert onnxruntime.__version__ == "1.18.1" and numpy.__version__ < "2", (onnxruntime.__version__, numpy.__version__)
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
for model in sys.argv[3:]:
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {"pixel_values": numpy.load(sys.argv[1])["pixel_values"]})
    numpy.savez(sys.argv[2] + model.split("/")[-1] + ".npz", **dict(zip(names, values)))
"""


def run_in_1_18(directory, pixels, models):
    """Give the outputs of every model, by name."""
    python = python_with("onnxruntime==1.18.1", "numpy<2", newest_python=(3, 12))
    np.savez(directory / "inputs.npz", pixel_values=pixels)
    command = [str(python), "-c", _RUN, str(directory / "inputs.npz"), f"{directory}/", *map(str, models)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return [dict(np.load(directory / f"{model.name}.npz")) for model in models]


@pytest.mark.slow
def test_hybrid_and_portable_files_run_in_onnxruntime_1_18(tmp_path):
    pixels, expected = golden_arrays("hf_dinat")
    outputs = tuple(expected)
    size = tuple(pixels.shape[2:])
    models = [
        exported("hf_dinat", ExportSettings(form=form, image_size=fixed, dynamic_size=free, outputs=outputs))
        for form in ("hybrid", "portable")
        for fixed, free in ((size, None), (None, (32, 256)))
    ]
    errors = {}
    for model, found in zip(models, run_in_1_18(tmp_path, pixels, models), strict=True):
        errors[model.name] = max(error(value, found[name]) for name, value in expected.items())
    assert max(errors.values()) <= 1e-4, json.dumps(errors)


@pytest.mark.slow
def test_files_that_take_pixels_run_in_onnxruntime_1_18(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 75, 128, 3), np.uint8)
    model = exported("hf_dinat", ExportSettings(dynamic_size=(40, 128), input_format="uint8-nhwc"))
    (found,) = run_in_1_18(tmp_path, pixels, [model])
    assert error(run(model, pixels)["logits"], found["logits"]) <= 1e-4
