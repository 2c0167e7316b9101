"""The shipped trained checkpoint: real weights on real scans, through real image files."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files.exported import error, run
from PIL import Image
from safetensors import safe_open

from natdeploy import model_from_weights, weights_from_checkpoint
from natdeploy.onnx_files.export import onnx_from_checkpoint
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.preprocessing import Preprocessing, batch_from_images

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "tests" / "data" / "digits"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def label_of(path: Path) -> int:
    return int(re.fullmatch(r"digit-(\d)-\d{4}\.png", path.name).group(1))


def write_images(directory: Path, *options: str) -> list[Path]:
    script = ROOT / "scripts" / "write_digit_images.py"
    run = subprocess.run([sys.executable, script, directory, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return sorted(directory.iterdir())


@pytest.fixture(scope="module")
def checkpoint():
    return weights_from_checkpoint(DIGITS)


@pytest.fixture(scope="module")
def model(checkpoint):
    return model_from_weights(checkpoint.config, checkpoint.tensors)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("held-out"))


def logits_of(model, checkpoint, paths):
    with torch.no_grad():
        return model(torch.from_numpy(batch_from_images(paths, checkpoint.preprocessing)))["logits"]


def test_held_out_digits_are_read_as_well_as_the_readme_says(model, checkpoint, held_out):
    logits = logits_of(model, checkpoint, held_out)
    predicted = logits.argmax(-1).tolist()
    correct = sum(p == label_of(path) for p, path in zip(predicted, held_out, strict=True))
    recorded = re.search(r"\*\*(\d+) of (\d+)\*\*", (DIGITS / "README.md").read_text(encoding="utf-8"))
    assert [correct, len(held_out)] == [int(n) for n in recorded.groups()]
    assert correct / len(held_out) >= 0.97
    # Any backend must give the same top-1, so no scan may hang on rounding: 1e-4 is what backends may differ by.
    best, second = logits.topk(2).values.unbind(-1)
    assert (best - second).min() > 0.01 * logits.std()


@pytest.mark.parametrize("form", ["hybrid", "portable"])
def test_float16_reads_the_held_out_digits_as_float32_does(checkpoint, held_out, tmp_path, form):
    """All but one at most, in ONNX Runtime."""
    pixels, found = batch_from_images(held_out, checkpoint.preprocessing), []
    for precision in ("fp32", "fp16"):
        path = tmp_path / f"{precision}.onnx"
        onnx_from_checkpoint(checkpoint, path, ExportSettings(form=form, precision=precision))
        found.append(run(path, pixels)["logits"])
    plain, half = found
    assert (plain.argmax(-1) != half.argmax(-1)).sum() <= 1
    assert 1e-4 < error(plain, half) < 2e-2


@pytest.mark.parametrize(
    "settings",
    [ExportSettings(), ExportSettings(form="portable"), ExportSettings(dynamic_size=(32, 64))],
    ids=["hybrid", "portable", "free-size"],
)
def test_onnxruntime_reads_every_held_out_digit_as_pytorch_does(model, checkpoint, held_out, tmp_path, settings):
    onnx_from_checkpoint(checkpoint, tmp_path / "digits.onnx", settings)
    expected = logits_of(model, checkpoint, held_out).numpy()
    found = run(tmp_path / "digits.onnx", batch_from_images(held_out, checkpoint.preprocessing))["logits"]
    assert (found.argmax(-1) == expected.argmax(-1)).all()
    assert error(expected, found) <= 1e-4  # top-1 alone would let a faulty bias or padding through


def test_every_shipped_image_is_read_right(model, checkpoint):
    paths = sorted((DIGITS / "images").iterdir())
    predicted = logits_of(model, checkpoint, paths).argmax(-1).tolist()
    assert [checkpoint.labels[p] for p in predicted] == [NAMES[label_of(path)] for path in paths]


def test_attention_really_decides(model, checkpoint):
    # A checkpoint that gets by on its convolutions would let any fault in the operator through.
    paths = sorted((DIGITS / "images").iterdir())
    right = logits_of(model, checkpoint, paths)
    for ending in (".rpb", ".qkv.bias", ".attention_scale"):
        zeroed = {name: torch.zeros_like(t) if name.endswith(ending) else t for name, t in checkpoint.tensors.items()}
        wrong = logits_of(model_from_weights(checkpoint.config, zeroed), checkpoint, paths)
        assert (wrong - right).abs().max() > 0.05 * right.std(), ending


def test_maps_meet_every_kind_of_window(checkpoint):
    config, (side, _) = checkpoint.config, checkpoint.preprocessing.crop_size
    kinds = set()
    for stage, dilations in enumerate(config.dilations):
        extent = side // config.patch_size // 2**stage
        kinds |= {(dilation > 1, config.kernel_size * dilation > extent) for dilation in dilations}
    assert kinds == {(False, False), (True, False), (True, True), (False, True)}  # (dilates, pads)


def test_preprocessing_and_labels_come_with_the_checkpoint(checkpoint):
    assert checkpoint.preprocessing == Preprocessing(
        crop_size=(32, 32), center_crop=False, channel_order="L", mean=(0.5,), std=(0.5,)
    )
    assert checkpoint.labels == NAMES
    assert checkpoint.config.image_size == 32


def test_files_are_as_transformers_would_write_them():
    golden = ROOT / "tests" / "data" / "golden" / "hf_dinat"  # written by transformers 4.40.2
    ours, theirs = (json.loads((d / "config.json").read_text(encoding="utf-8")) for d in (DIGITS, golden))
    assert ours.keys() == theirs.keys()
    assert {k: type(v) for k, v in ours.items()} == {k: type(v) for k, v in theirs.items()}
    assert generic_names(DIGITS) == generic_names(golden)


def generic_names(directory: Path) -> set[str]:
    with safe_open(directory / "model.safetensors", "np") as tensors:
        return {re.sub(r"\.\d+\.", ".N.", name) for name in tensors.keys()}  # noqa: SIM118 (not a dict)


def test_shipped_images_are_the_first_held_out_scans(tmp_path, held_out):
    again = write_images(tmp_path / "new", "--count", "20")
    shipped = sorted((DIGITS / "images").iterdir())
    assert [p.name for p in shipped] == [p.name for p in again]
    assert set(Counter(map(label_of, shipped)).values()) == {2}
    for ours, written in zip(shipped, again, strict=True):
        image = Image.open(ours)
        assert (image.mode, image.size) == ("L", (8, 8))
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(written))), ours.name
    assert {p.name for p in again} < {p.name for p in held_out}


def test_images_hold_the_scans_and_scale_repeats_pixels(tmp_path, held_out):
    from sklearn.datasets import load_digits

    scans = load_digits()
    for path in held_out:
        index = int(path.stem.rsplit("-", 1)[1])
        assert label_of(path) == scans.target[index]
        assert np.abs(np.asarray(Image.open(path)) / 255 * 16 - scans.images[index]).max() < 0.04  # half of 1/255
    (large,) = write_images(tmp_path, "--count", "1", "--scale", "3")
    small = next(p for p in held_out if p.name == large.name)
    assert np.array_equal(np.asarray(Image.open(large))[1::3, 2::3], np.asarray(Image.open(small)))


def test_split_shares_no_scan_and_holds_out_a_quarter_of_each_class(held_out):
    spec = importlib.util.spec_from_file_location("digits", ROOT / "scripts" / "digits.py")
    digits = importlib.util.module_from_spec(spec)
    sys.modules["digits"] = digits  # dataclasses look their module up
    try:
        spec.loader.exec_module(digits)
        train, out = digits.load_split()
    finally:
        del sys.modules["digits"]
    assert sorted([*train.indices, *out.indices]) == list(range(1797))
    shares = np.bincount(out.labels) / np.bincount(np.concatenate([train.labels, out.labels]))
    assert shares.min() > 0.24
    assert shares.max() <= 0.25
    assert sorted(int(p.stem[-4:]) for p in held_out) == sorted(out.indices)


def test_checkpoint_and_images_stay_small():
    assert sum(p.stat().st_size for p in DIGITS.rglob("*") if p.is_file()) < 1_500_000
