"""``natdeploy inspect``: ONNX files and checkpoints."""

import onnx
import pytest
from command_line import (
    DATA,
    DIGITS,
    digits_onnx,
    dynamic_onnx,
    edited,
    one_paragraph,
    plugin_onnx,
    portable_onnx,
    run,
)


def section(out: str, title: str) -> dict[str, str]:
    """Facts of one section of the printed description."""
    (part,) = (part for part in out.split("\n\n") if part.splitlines()[0] == title)
    return {line[2:].split("  ")[0]: line.split("  ")[-1].strip() for line in part.splitlines()[1:]}


def test_an_onnx_file_one_fact_a_line():
    result = run("inspect", digits_onnx())
    assert (result.status, result.err) == (0, "")
    facts = section(result.out, "digits.onnx")
    assert facts["form"] == "hybrid"
    assert facts["image sizes"] == "32x32"
    assert facts["inputs"] == "pixel_values float32 [batch, 1, 32, 32]"
    assert facts["functions"] == "natdeploy::PackedNeighborhoodAttention"
    assert section(result.out, "preprocessing")["crop size"] == "32x32"
    assert section(result.out, "operators")["natdeploy::PackedNeighborhoodAttention"] == "5"
    assert len(section(result.out, "checkpoint")["sha256"]) == 64
    table = result.out.split("\n\n")[-1].splitlines()
    assert table[0] == "attention"
    assert len(table) == 2 + 5
    assert table[2].split() == ["stage1.block1", "8x8", "1", "32", "3x3", "1x1", "yes"]
    assert all(line == line.rstrip() for line in result.out.splitlines())


@pytest.mark.parametrize(
    "file, form, attention, functions",
    [(digits_onnx, "hybrid", 5, 1), (plugin_onnx, "plugin", 5, 0), (portable_onnx, "portable", 0, 0)],
    ids=["hybrid", "plugin", "portable"],
)
def test_json_of_every_form(file, form, attention, functions):
    document = run("inspect", file(), "--json").json
    assert (document["kind"], document["form"]) == ("onnx", form)
    assert (len(document["attention"]), len(document["functions"])) == (attention, functions)
    assert document["file_bytes"] == file().stat().st_size
    assert document["outputs"] == [{"name": "logits", "dtype": "float32", "shape": ["batch", 10]}]
    assert document["opsets"]["ai.onnx"] == 20


def test_free_maps():
    document = run("inspect", dynamic_onnx(), "--json").json
    assert document["attention"][0]["map"] == ["free", "free"]
    assert (document["image_sizes"], document["batch"]) == ("40 to 72 (height and width)", 3)


def test_probes_are_tensor_names_of_the_file():
    names = run("inspect", digits_onnx(), "--probes").out.splitlines()
    assert names == run("inspect", digits_onnx(), "--probes", "--json").json
    tensors = {output for node in onnx.load(digits_onnx()).graph.node for output in node.output}
    assert set(names) <= tensors
    assert {"stem", "stage1.block1.attention", "stage2.downsample", "pooled"} <= set(names)
    one_paragraph(run("inspect", DIGITS, "--probes"), "no ONNX file", "natdeploy export")


def test_a_checkpoint():
    result = run("inspect", DIGITS)
    facts = section(result.out, "digits")
    assert facts["params"] == "0.32 M"
    assert facts["labels"].startswith("zero, one") or len(facts["labels"].split(", ")) == 10
    assert section(result.out, "config")["dilations"] == "1, 2; 1, 2; 1"
    document = run("inspect", DIGITS, "--json").json
    assert document["params"] == 316_356  # tests/data/digits/README.md
    assert document["outputs"][:2] == ["logits", "pooled"]


def test_a_published_variant_is_recognised():
    document = run("inspect", "random:nat_mini", "--json").json
    assert document["variant"] == "nat_mini"
    assert {"nat_mini", "dinat_mini"} <= set(document["variants_with_these_shapes"])
    text = run("inspect", "random:nat_mini").out
    assert section(text, "random:nat_mini@0")["params"] == "19.98 M"
    one_paragraph(run("inspect", "random:nat_mini", "--variant", "nat_mini"), "Leave --variant out")


def test_our_op_in_a_file_that_others_wrote(tmp_path):
    other = edited(digits_onnx(), tmp_path / "m.onnx", lambda model: model.ClearField("metadata_props"))
    document = run("inspect", other, "--json").json
    assert (document["form"], len(document["attention"])) == (None, 5)
    assert "form" not in run("inspect", other).out


def test_a_backbone_checkpoint():
    document = run("inspect", DATA / "golden" / "hf_nat_backbone", "--json").json
    assert any(name.startswith("feature_maps.") for name in document["outputs"])
    assert document["labels"] == []
