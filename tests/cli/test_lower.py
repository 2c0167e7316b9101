"""``natdeploy lower``, every option."""

import onnx
import pytest
from command_line import digits_onnx, one_paragraph, plugin_onnx, portable_onnx, run


@pytest.mark.parametrize("form", ["hybrid", "plugin", "portable"])
def test_every_form_comes_from_the_plugin_form(form, tmp_path):
    target = tmp_path / "m.onnx"
    result = run("lower", plugin_onnx(), "-o", target, "--form", form)
    assert result.status == 0
    assert result.out.splitlines()[0] == "lowered plugin.onnx"
    assert f"  form  {form}" in result.out
    assert result.err.splitlines()[-1] == f"Next: natdeploy inspect {target}"
    expected = {"hybrid": digits_onnx(), "plugin": plugin_onnx(), "portable": portable_onnx()}[form]
    assert target.read_bytes() == expected.read_bytes()


def test_portable_is_the_default_and_stays_in_place(tmp_path):
    target = tmp_path / "m.onnx"
    target.write_bytes(digits_onnx().read_bytes())
    result = run("lower", target, "--output", target, "--json")
    assert result.json == {"file": str(target), "form": "portable", "bytes": target.stat().st_size}
    assert {node.domain for node in onnx.load(target).graph.node} == {""}


def test_external_data_comes_and_goes(tmp_path):
    target, data = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    result = run("lower", digits_onnx(), "-o", target, "--external-data", "--form", "hybrid", "--json")
    assert result.json["bytes"] == target.stat().st_size + data.stat().st_size
    assert sorted(tmp_path.iterdir()) == [target, data]
    assert run("lower", target, "-o", target, "--form", "plugin").status == 0
    assert list(tmp_path.iterdir()) == [target]  # the data that the replaced file referred to went with it
    assert not onnx.load(target).functions
    weights, expected = (
        {w.name: onnx.numpy_helper.to_array(w).tobytes() for w in onnx.load(path).graph.initializer}
        for path in (target, plugin_onnx())
    )
    assert weights == expected


def test_portable_cannot_be_turned_back(tmp_path):
    result = run("lower", portable_onnx(), "-o", tmp_path / "m.onnx", "--form", "hybrid")
    one_paragraph(result, "no neighborhood attention node", "cannot be turned back")
    assert list(tmp_path.iterdir()) == []
