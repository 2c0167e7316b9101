"""``weights_from_checkpoint``: which reader, and what is said where none fits."""

import os

import pytest
import torch
from checkpoints.tiny import GOLDEN, NAT_MINI, copy_of, edit_json, original_shapes, weightless

from natdeploy.checkpoints import weights_from_checkpoint
from natdeploy.errors import NatdeployError


def test_string_and_path_are_the_same_and_no_path_is_kept():
    by_path, by_text = (weights_from_checkpoint(kind(GOLDEN / "hf_nat")) for kind in (lambda p: p, str))
    assert by_path.sha256 == by_text.sha256
    assert by_path.source == by_text.source == "hf_nat"
    assert os.sep not in weights_from_checkpoint(GOLDEN / "shi_isotropic").source


def test_current_directory_has_a_name(monkeypatch):
    monkeypatch.chdir(GOLDEN / "shi_nat")
    assert weights_from_checkpoint(".").source == "shi_nat"


@pytest.mark.parametrize("missing", ["nowhere", "nat.pth", "some/where.pth", "./nat-mini", "a/b/c", "/no/such/place"])
def test_missing_checkpoint_lists_the_forms_and_asks_no_network(missing, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("natdeploy.checkpoints.load.directory_from_hub", lambda hub_id: pytest.fail(hub_id))
    with pytest.raises(NatdeployError, match="there is no checkpoint") as error:
        weights_from_checkpoint(missing, variant="nat_mini")
    assert f"'{missing}'" in error.value.what
    assert "--variant" in error.value.needed and "random:VARIANT" in error.value.needed


def test_path_on_disk_wins_over_hub_id_and_random(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("natdeploy.checkpoints.load.directory_from_hub", lambda hub_id: pytest.fail(hub_id))
    (tmp_path / "shi-labs").mkdir()
    copy_of("hf_nat", tmp_path).rename(tmp_path / "shi-labs" / "nat-mini-in1k-224")
    assert weights_from_checkpoint("shi-labs/nat-mini-in1k-224").config.embed_dim == 16
    copy_of("shi_nat", tmp_path).rename(tmp_path / "random:nat_mini")
    assert weights_from_checkpoint("random:nat_mini").config.embed_dim == 16


def test_a_misspelt_path_in_a_directory_that_exists_is_no_hub_id(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(NatdeployError, match="there is no checkpoint 'checkpoints/nat'"):
        weights_from_checkpoint("checkpoints/nat")


@pytest.mark.parametrize("checkpoint", [GOLDEN / "hf_nat", GOLDEN / "shi_nat", "random:nat_mini"], ids=str)
def test_variant_where_it_makes_no_sense(checkpoint):
    with pytest.raises(NatdeployError, match="--variant nat_mini makes no sense") as error:
        weights_from_checkpoint(checkpoint, variant="nat_mini")
    assert "Leave --variant out" in error.value.next_step


def test_unknown_variant_suggests_close_ones(tmp_path):
    torch.save(weightless(original_shapes(**NAT_MINI)), tmp_path / "a.pth")
    with pytest.raises(NatdeployError, match="'nat_mni' is no published variant") as error:
        weights_from_checkpoint(tmp_path / "a.pth", variant="nat_mni")
    assert "nat_mini" in error.value.next_step


def test_directory_without_config(tmp_path):
    with pytest.raises(NatdeployError, match=r"there is no config\.json in") as error:
        weights_from_checkpoint(tmp_path)
    assert error.value.next_step is None
    (tmp_path / "nat_mini.pth").write_bytes(b"")
    with pytest.raises(NatdeployError, match=r"there is no config\.json in") as error:
        weights_from_checkpoint(tmp_path, variant="nat_mini")
    assert "nat_mini.pth --variant NAME" in error.value.next_step


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"model_type": "swin"}, "model_type 'swin'"),
        ({"model_type": None, "family": "Swin"}, "family 'Swin'"),
        ({"model_type": ["nat"]}, "model_type ['nat']"),
    ],
    ids=str,
)
def test_other_models_are_named(changes, shown, tmp_path):
    directory = copy_of("hf_nat", tmp_path)
    edit_json(directory / "config.json", **changes)
    with pytest.raises(NatdeployError, match="holds no checkpoint of a supported model") as error:
        weights_from_checkpoint(directory)
    assert shown in error.value.got
    assert "model_type nat or dinat" in error.value.needed and "NATIsotropic" in error.value.needed


def test_config_that_names_no_model(tmp_path):
    directory = copy_of("hf_nat", tmp_path)
    edit_json(directory / "config.json", remove=["model_type"])
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(directory)
    assert error.value.got == "neither model_type nor family"


def test_errors_are_one_paragraph(tmp_path):
    directory = copy_of("shi_nat", tmp_path)
    edit_json(directory / "config.json", embed_dim=24)
    with pytest.raises(NatdeployError) as error:
        weights_from_checkpoint(directory)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1500
