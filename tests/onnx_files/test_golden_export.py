"""Every golden model through export and a stock ONNX Runtime: both forms, fixed and free sizes, all outputs."""

import numpy as np
import pytest
import torch
from golden import MODELS, golden_arrays
from onnx_files.exported import error, exported, golden_checkpoint, run

from natdeploy.models import model_from_weights
from natdeploy.onnx_files.settings import ExportSettings

TOLERANCE = 1e-4  # of the output's standard deviation: the contract; worst seen 7.5e-6
FIXED_ONLY = ("shi_isotropic",)  # a fixed map; test_settings.py tests that free sizes are refused
FREE = (32, 256)
OTHER_SIZES = ((32, 32), (33, 97), (64, 64), (75, 200), (131, 96))


def _settings(name, form, free):
    pixels, outputs = golden_arrays(name)
    size = None if free else tuple(pixels.shape[2:])
    return ExportSettings(form=form, image_size=size, dynamic_size=FREE if free else None, outputs=tuple(outputs))


def test_there_is_golden_data_for_every_family():
    assert len(MODELS) == 9


@pytest.mark.parametrize("form", ["hybrid", "portable"])
@pytest.mark.parametrize(
    ("name", "free"), [(n, free) for n in MODELS for free in (False, True) if not (free and n in FIXED_ONLY)]
)
def test_golden_outputs(name, form, free):
    pixels, expected = golden_arrays(name)
    found = run(exported(name, _settings(name, form, free)), pixels)
    assert list(found) == list(expected)
    assert {key: error(value, found[key]) <= TOLERANCE for key, value in expected.items()} == dict.fromkeys(found, True)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("form", ["hybrid", "portable"])
@pytest.mark.parametrize("name", [name for name in MODELS if name not in FIXED_ONLY])
def test_one_file_is_right_at_many_sizes(name, form, batch):
    """Square and not, odd, smaller than the windows: 32 px give maps of 8, 4, 2 and 1 pixel."""
    checkpoint = golden_checkpoint(name)
    model = model_from_weights(checkpoint.config, checkpoint.tensors).double()
    path = exported(name, _settings(name, form, free=True))
    for height, width in OTHER_SIZES:
        pixels = np.random.default_rng(height).standard_normal((batch, 3, height, width)).astype(np.float32)
        found = run(path, pixels)
        with torch.inference_mode():
            reference = model(torch.from_numpy(pixels).double(), list(found))
        assert max(error(reference[key].numpy(), found[key]) for key in found) <= TOLERANCE, (height, width)


@pytest.mark.parametrize("free", [False, True], ids=["fixed", "free"])
def test_an_empty_batch_gives_empty_outputs(free):
    path = exported("hf_nat", _settings("hf_nat", "hybrid", free))
    pixels, expected = golden_arrays("hf_nat")
    found = run(path, pixels[:0])
    assert {key: value.shape for key, value in found.items()} == {k: (0, *v.shape[1:]) for k, v in expected.items()}
