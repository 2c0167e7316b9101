"""Damaged, misleading and hostile files: an error that says so, and never a run of what they hold."""

import argparse
import collections
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints.tiny import GOLDEN, copy_of
from safetensors.torch import save_file

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.checkpoints.files import read_json, tensors_from_file, uniquely_named
from natdeploy.errors import NatdeployError

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


class Touch:
    """Unpickles by running code: makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),)) if os.name == "nt" else (os.system, (f"touch {self.path}",))


@pytest.fixture
def weights():
    return {"norm.weight": torch.arange(6.0), "head.weight": torch.ones(2, 3)}


def test_plain_weights_are_read(tmp_path, weights):
    torch.save(weights, tmp_path / "a.pth")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / "a.safetensors")
    for name in ("a.pth", "old.pth", "a.safetensors"):
        found = tensors_from_file(tmp_path / name)
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in weights.items())


@pytest.mark.parametrize("kind", ["zip", "old", "bare protocol 2", "bare protocol 4"])
def test_pickle_that_wants_to_run_code_does_not(kind, tmp_path, weights):
    trace, path = tmp_path / "ran", tmp_path / "evil.pth"
    if kind.startswith("bare"):
        path.write_bytes(pickle.dumps(Touch(trace), protocol=int(kind[-1])))
    else:
        content = {"state_dict": weights, "hook": Touch(trace)}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(NatdeployError, match=r"refused to read '.*evil\.pth'") as error:
        weights_from_checkpoint(path, variant="nat_mini")
    assert not trace.exists()
    assert "safetensors" in error.value.next_step
    if kind != "bare protocol 4":  # whose opcodes torch does not even look at
        assert "posix.system" in error.value.got
    pickle.loads(pickle.dumps(Touch(trace)))  # the same thing, unpickled in earnest
    assert trace.exists()


def test_whole_pickled_model_is_refused_by_name(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "model.pth")
    with pytest.raises(NatdeployError, match="refused") as error:
        tensors_from_file(tmp_path / "model.pth")
    assert "torch.nn.modules.linear.Linear" in error.value.got


def test_harmless_training_state_beside_the_weights_is_allowed(tmp_path, weights):
    state = {
        "state_dict": collections.OrderedDict(weights),
        "args": argparse.Namespace(lr=0.1, name="nat", betas=(0.9, 0.999), nested=argparse.Namespace(x=np.float64(1))),
        "metrics": [np.float64(1.5), np.float32(2.5), np.int64(3), np.int32(4), np.bool_(True)],
        "optimizer": {"state": {0: {"step": torch.tensor(3)}}},
        "epoch": 300,
    }
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.pth", "b.pth"):
        assert tensors_from_file(tmp_path / name).keys() == weights.keys()


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numpy_scalars_are_allowed_whichever_numpy_wrote_them(core, tmp_path, weights):
    torch.save({"model": weights, "best": np.float64(2.5)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    written = b"numpy._core.multiarray" if b"numpy._core" in content else b"numpy.core.multiarray"
    assert written in content
    (tmp_path / "a.pth").write_bytes(content.replace(written, core))
    assert tensors_from_file(tmp_path / "a.pth").keys() == weights.keys()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([1, 2], "a list"),
        ({"epoch": 3}, "a dict"),
        (torch.ones(2), "a Tensor"),
        ({"model": {"a": [1.0]}}, "a dict"),
    ],
    ids=str,
)
def test_pickle_without_named_tensors(content, kind, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(NatdeployError, match="holds no named tensors") as error:
        tensors_from_file(tmp_path / "a.pth")
    assert error.value.got == kind


def test_names_that_become_equal_are_refused(tmp_path):
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(NatdeployError, match="more than one tensor for one name") as error:
        tensors_from_file(tmp_path / "a.pth")
    assert error.value.got == "a"
    assert uniquely_named([("a", torch.ones(1)), ("b", torch.ones(1))], "x").keys() == {"a", "b"}


# Damage


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "config.json"])
def test_git_lfs_pointer_is_named_as_such(name, tmp_path):
    directory = copy_of("shi_nat" if name == "model.pth" else "hf_nat", tmp_path)
    (directory / name).write_text(LFS_POINTER)
    with pytest.raises(NatdeployError, match="Git LFS pointer") as error:
        weights_from_checkpoint(directory)
    assert "git lfs pull" in error.value.next_step


@pytest.mark.parametrize(
    ("content", "begins"),
    [(b"<!DOCTYPE html><html>", "<!DOCTYPE html>"), (b"layer one: 3\n", "layer one"), (b"", "empty")],
)
def test_text_in_place_of_weights(content, begins, tmp_path):
    (tmp_path / "nat_mini.pth").write_bytes(content)
    with pytest.raises(NatdeployError, match="is no PyTorch checkpoint") as error:
        weights_from_checkpoint(tmp_path / "nat_mini.pth", variant="nat_mini")
    assert begins in error.value.got


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_truncated_safetensors(share, tmp_path):
    directory = copy_of("hf_nat", tmp_path)
    content = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(NatdeployError, match=r"cannot read '.*model\.safetensors'") as error:
        weights_from_checkpoint(directory)
    assert "download" in error.value.next_step


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_truncated_pth(share, tmp_path):
    directory = copy_of("shi_nat", tmp_path)
    content = (directory / "model.pth").read_bytes()
    (directory / "model.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(NatdeployError, match=r"cannot read '.*model\.pth' as a PyTorch checkpoint") as error:
        weights_from_checkpoint(directory)
    assert "download" in error.value.next_step


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_never_lead_to_another_error(zipped, tmp_path, weights):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": weights, "args": argparse.Namespace(lr=1)}, path, _use_new_zipfile_serialization=zipped)
    content, numbers, outcomes = path.read_bytes(), random.Random(5), collections.Counter()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(numbers.choice([1, 3, 10])):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        path.write_bytes(damaged[: numbers.choice([None, numbers.randrange(1, len(damaged))])])
        try:
            outcomes["read"] += bool(tensors_from_file(path))
        except NatdeployError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 100  # any other exception would have ended the test


def test_damaged_safetensors_never_lead_to_another_error(tmp_path, weights):
    path = tmp_path / "a.safetensors"
    save_file(weights, path)
    content, numbers, refused = path.read_bytes(), random.Random(6), 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(numbers.choice([1, 3])):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        path.write_bytes(damaged)
        try:
            tensors_from_file(path)
        except NatdeployError:
            refused += 1
    assert refused > 100


def test_torchscript_archive_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "jit.pt", "w") as archive:
        for name in ("constants.pkl", "data.pkl", "version"):
            archive.writestr(f"jit/{name}", b"\x80\x02}q\x00.")
    with pytest.raises(NatdeployError, match=r"jit\.pt'"):
        tensors_from_file(tmp_path / "jit.pt")


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may read everything")
def test_unreadable_file(tmp_path):
    path = tmp_path / "a.pth"
    path.touch(mode=0)
    with pytest.raises(NatdeployError, match="Permission denied"):
        tensors_from_file(path)


# Shards and JSON


@pytest.fixture
def sharded(tmp_path):
    directory = copy_of("hf_nat", tmp_path)
    (directory / "model.safetensors").unlink()
    return directory


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (
            {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}},
            "missing: model-1.safetensors; missing",
        ),
        ({"weight_map": {"a": "../secret.safetensors"}}, "outside the directory: ../secret.safetensors"),
        ({"weight_map": ["a"]}, "no usable 'weight_map'"),
        ({}, "no usable 'weight_map'"),
        ({"weight_map": {}}, "no usable 'weight_map'"),
    ],
    ids=str,
)
def test_index_that_cannot_be_used(index, reason, sharded):
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(NatdeployError, match="index") as error:
        weights_from_checkpoint(sharded)
    assert reason in str(error.value)


def test_directory_without_weights_lists_what_there_is(sharded):
    with pytest.raises(NatdeployError, match="there are no weights in") as error:
        weights_from_checkpoint(sharded)
    assert error.value.got == "config.json"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b"null"], ids=lambda c: repr(c[:4])
)
def test_broken_json(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(NatdeployError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def test_reading_a_checkpoint_leaves_nothing_behind(tmp_path):
    directory = copy_of("shi_nat", tmp_path)
    before = sorted(path.name for path in directory.iterdir())
    weights_from_checkpoint(directory)
    assert sorted(path.name for path in directory.iterdir()) == before


def test_readers_are_imported_without_torch():
    code = "import sys, natdeploy.checkpoints; sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_golden_weights_are_what_the_tests_above_expect():
    assert (GOLDEN / "shi_nat" / "model.pth").read_bytes().startswith(b"PK")
