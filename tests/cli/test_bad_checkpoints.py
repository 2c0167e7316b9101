"""Bad checkpoints, settings and targets: one paragraph that names the fix, status 1, and nothing left behind."""

import json
import pickle
import resource
import shutil
from types import SimpleNamespace

import pytest
import torch
from command_line import (
    DATA,
    DIGITS,
    digits_onnx,
    one_paragraph,
    run,
    run_process,
    two_outputs_onnx,
)
from refusals import Evil, contents, fails, nothing
from safetensors.torch import load_file, save_file

GOLDEN = DATA / "golden"


def missing_file(directory):
    return directory / "weights.pth"


def without_config(directory):
    shutil.copytree(DIGITS, directory / "checkpoint", ignore=shutil.ignore_patterns("config.json", "images"))
    return directory / "checkpoint"


def digits_copy(directory):
    shutil.copytree(DIGITS, directory / "checkpoint", ignore=shutil.ignore_patterns("images"))
    return directory / "checkpoint"


def truncated(directory):
    weights = digits_copy(directory) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return weights.parent


def evil_pickle(directory):
    path = directory / "weights.pth"
    with path.open("wb") as file:
        pickle.dump({"state_dict": Evil()}, file, protocol=2)
    return path


def text_file(directory):
    path = directory / "weights.pth"
    path.write_text("no weights at all")
    return path


def swin(directory):
    path = directory / "swin.pth"
    names = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table", "head.weight")
    torch.save({"model": {name: torch.zeros(3, 3) for name in names}}, path)
    return path


def swin_config(directory):
    checkpoint = digits_copy(directory)
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "swin"}))
    return checkpoint


def edited_config(**changes):
    def make(directory):
        path = digits_copy(directory) / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return path.parent

    return make


def edited_weights(change):
    def make(directory):
        path = digits_copy(directory) / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})
        return path.parent

    return make


@pytest.mark.parametrize(
    "make, says",
    [
        (nothing, ["there is no checkpoint", "a Hugging Face directory"]),
        (missing_file, ["there is no checkpoint", "weights.pth"]),
        (without_config, ["there is no config.json"]),
        (truncated, ["cannot read", "model.safetensors", "download it again"]),
        (evil_pickle, ["could run code", "save its state dict with safetensors"]),
        (text_file, ["weights.pth", "no PyTorch checkpoint"]),
        (swin, ["is a Swin Transformer checkpoint", "NAT, DiNAT"]),
        (swin_config, ["model_type 'swin'", "model_type nat or dinat"]),
        (edited_config(num_heads=[3, 2, 4]), ["32 channels are not divisible by 3 heads"]),
        (edited_config(depths=[2, 3, 1]), ["stage 2 has 3 blocks"]),
        (edited_config(kernel_size=5), ["wrong shape", "rpb"]),
        (edited_config(hidden_act="step"), ["hidden_act", "gelu"]),
        (edited_config(embed_dim="wide"), ["embed_dim is 'wide'"]),
        (edited_weights(lambda t: t["classifier.bias"].__setitem__(0, float("nan"))), ["NaN or infinite", "head.bias"]),
        (edited_weights(lambda t: t.pop("classifier.bias")), ["1 missing: head.bias"]),
        (edited_weights(lambda t: t.update(more=torch.zeros(1))), ["1 unexpected: more"]),
    ],
    ids=lambda value: getattr(value, "__name__", "") or " ".join(value)[:40],
)
def test_checkpoints(place, make, says):
    checkpoint = make(place)
    fails(place, "export", checkpoint, "-o", "out.onnx", says=says)
    fails(place, "verify", two_outputs_onnx(), "--checkpoint", checkpoint, says=says)
    fails(place, "inspect", checkpoint, says=says)


def test_a_checkpoint_whose_name_is_too_long(place):
    fails(place, "inspect", "n" * 300, says=["File name too long"])


def test_a_hub_id_that_is_not_in_the_cache(place):
    fails(place, "export", "nobody/nothing", "-o", "out.onnx", says=["nobody/nothing", "Check the name"])


@pytest.mark.parametrize(
    "settings, says",
    [
        (["--image-size", "31"], ["image size 31x31 is below 32 pixels"]),
        (["--image-size", "64x16"], ["image size 64x16 is below 32 pixels"]),
        (["--image-size", "16385"], ["beyond 16384 pixels"]),
        (["--image-size", "9999999999"], ["beyond 16384 pixels"]),
        (["--image-size", "16384"], ["16384x16384 could not run", "GiB", "--image-size or --batch"]),
        (["--batch", "100000000000"], ["32x32, batch 100000000000 could not run", "GiB"]),
        (["--batch", "100000000000", "--form", "plugin"], ["could not run", "GiB"]),
        (["--dynamic-size", "16:64"], ["is below 32 pixels"]),
        (["--dynamic-size", "64:99999"], ["is beyond 16384 pixels"]),
        (["--outputs", "logits,probabilities"], ["'probabilities' is no output", "reshaped_hidden_states.0"]),
        (["--outputs", "feature_maps.stage1"], ["no norm for it", "reshaped_hidden_states.N"]),
        (["--outputs", "reshaped_hidden_states.0,hidden_states.0"], ["before the first attention layer", "--outputs"]),
        (["--outputs", "logits,pooled,logits"], ["'logits' is asked for twice"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_settings(place, settings, says, monkeypatch):
    monkeypatch.setattr("natdeploy.onnx_files.settings.memory_of_this_machine", lambda: 8 * 2**30)
    fails(place, "export", DIGITS, "-o", "out.onnx", *settings, says=says)


@pytest.mark.parametrize("settings", [["--dynamic-size", "64:128"], ["--image-size", "64x96"]], ids=" ".join)
def test_isotropic_models_have_a_fixed_map(place, settings):
    says = ["fixed map of 8x8 patches", "64x64"]
    fails(place, "export", GOLDEN / "shi_isotropic", "-o", "out.onnx", *settings, says=says)


@pytest.mark.parametrize(
    "target, says",
    [
        ("nowhere/out.onnx", ["no directory 'nowhere'"]),
        ("file/out.onnx", ["'file', which is no directory"]),
        ("directory.onnx", ["a directory of that name"]),
        ("/proc/out.onnx", ["cannot write '/proc/out.onnx'"]),
        ("model.pth", ["does not end in .onnx"]),
        ("model", ["does not end in .onnx"]),
        (f"{'n' * 300}.onnx", ["File name too long"]),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_targets(place, target, says):
    (place / "file").write_text("")
    (place / "directory.onnx").mkdir()
    fails(place, "export", DIGITS, "-o", target, says=says)
    fails(place, "lower", digits_onnx(), "-o", target, says=says)
    recording = target.replace(".onnx", ".npz")
    if target == "directory.onnx":
        (place / "directory.npz").mkdir()
    says = [part.replace(".onnx", ".npz") for part in says]
    fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--save-reference", recording, says=says)


def limit_files_to_100_kilobytes():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize("more", [[], ["--external-data"]], ids=["one file", "external data"])
def test_a_file_that_may_not_grow(place, more):
    before = contents(place)
    result = run_process("lower", digits_onnx(), "-o", "out.onnx", *more, preexec_fn=limit_files_to_100_kilobytes)
    one_paragraph(result, "cannot write 'out.onnx'", "File too large")
    assert contents(place) == before


@pytest.mark.parametrize("name", ["out.onnx", "reference.npz"])
def test_a_full_disk(place, name, monkeypatch):
    def onto_a_full_disk(prefix, dir):
        directory = place / f"{prefix}x"
        directory.mkdir()
        (directory / name).symlink_to("/dev/full")
        return str(directory)

    recording = place / "r.npz"
    run("verify", digits_onnx(), "--checkpoint", DIGITS, "--save-reference", recording)
    monkeypatch.setattr("natdeploy.onnx_files.files.tempfile", SimpleNamespace(mkdtemp=onto_a_full_disk))
    says = ["No space left on device", "Free some space or choose another place"]
    if name == "reference.npz":
        fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--save-reference", recording, says=says)
    else:
        fails(place, "lower", digits_onnx(), "-o", "out.onnx", says=says)
