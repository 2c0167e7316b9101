"""What --reference transformers refuses, on any machine; test_huggingface_models.py has the numbers."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from natdeploy.errors import MissingDependencyError, NatdeployError
from natdeploy.runners.transformers_runner import TransformersRunner

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@pytest.mark.parametrize(
    ("checkpoint", "got"),
    [
        ("random:nat_mini", "'random:nat_mini', which has no files"),
        (GOLDEN / "shi_nat", "whose model_type is None"),
        (GOLDEN / "shi_nat" / "model.pth", "a file"),
        (GOLDEN / "nothing_here", "which is no directory with a config.json"),
        (GOLDEN, "which is no directory with a config.json"),
    ],
    ids=lambda x: x.name if isinstance(x, Path) else None,
)
def test_other_checkpoints_are_refused(checkpoint: str | Path, got: str):
    with pytest.raises(NatdeployError) as caught:
        TransformersRunner(checkpoint)
    assert got in caught.value.got
    assert "--reference torch" in caught.value.next_step


def test_missing_transformers_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # an import of it then fails
    with pytest.raises(MissingDependencyError) as caught:
        TransformersRunner(GOLDEN / "hf_nat")
    assert "'transformers', which is not installed" in str(caught.value)
    assert "pip install 'natdeploy[transformers]'" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "checkpoint", "why_not"),
    [
        ("4.54.0", "hf_dinat", "mixes up the map's axes since 4.54"),
        ("4.57.6", "hf_dinat_backbone", "mixes up the map's axes since 4.54"),
        ("5.0.0.dev0", "hf_nat", "it has no NatForImageClassification any more"),
        ("5.23.0", "hf_nat_backbone", "it has no NatBackbone any more"),
    ],
)
def test_versions_that_cannot_run_the_model_are_refused(
    monkeypatch: pytest.MonkeyPatch, version: str, checkpoint: str, why_not: str
):
    library = ModuleType("transformers")
    library.__version__ = version
    library.DinatForImageClassification = library.DinatBackbone = object
    monkeypatch.setitem(sys.modules, "transformers", library)
    monkeypatch.setattr("natdeploy.compat.natten_has_the_functions", lambda: True)  # leave this process as it is
    with pytest.raises(NatdeployError) as caught:
        TransformersRunner(GOLDEN / checkpoint)
    assert why_not in caught.value.got
    assert "transformers 4.40 to 4.53" in caught.value.needed
    assert "natdeploy[transformers]" in caught.value.next_step


def test_damaged_weights_are_refused_before_transformers_sees_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    monkeypatch.setattr("natdeploy.compat.natten_has_the_functions", lambda: True)
    (tmp_path / "config.json").write_bytes((GOLDEN / "hf_nat" / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((GOLDEN / "hf_nat" / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(NatdeployError, match=r"model\.safetensors"):
        TransformersRunner(tmp_path)
