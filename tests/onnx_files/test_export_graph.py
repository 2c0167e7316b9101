"""What an exported file is made of: nodes, names, metadata, bytes."""

import dataclasses
import re

import numpy as np
import onnx
import pytest
from onnx_files.exported import exported, golden_checkpoint, run

from natdeploy.models.probes import Recorder
from natdeploy.onnx_files.export import onnx_from_checkpoint
from natdeploy.onnx_files.metadata import metadata_from_properties
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.ops.spec import DOMAIN, OPERATORS, PACKED
from natdeploy.runners.onnxruntime_runner import OnnxRuntimeRunner
from natdeploy.runners.torch_runner import TorchRunner

FREE = ExportSettings(dynamic_size=(32, 256))
FIXED = ExportSettings(image_size=(96, 128))
LARGE = ExportSettings(dynamic_size=(192, 512))


def _load(name, settings):
    return onnx.load(exported(name, settings))


def _op_types(model):
    return [node.op_type for node in model.graph.node]


def _around_attention(model, op_type):
    """Nodes of a type that read what attention wrote, or wrote what its qkv projection reads."""
    producers = {out: node for node in model.graph.node for out in node.output}
    found = []
    for node in model.graph.node:
        if node.domain == DOMAIN:
            found += [n for n in model.graph.node if node.output[0] in n.input and n.op_type == op_type]
            bias_add = producers[node.input[0]]
            matmul = next(producers[i] for i in bias_add.input if i in producers)
            found += [producers[i] for i in matmul.input if i in producers and producers[i].op_type == op_type]
    return found


def test_one_custom_node_per_layer_with_every_attribute():
    for settings in (FIXED, FREE):
        model = _load("hf_dinat", settings)
        nodes = [node for node in model.graph.node if node.domain == DOMAIN]
        assert [node.op_type for node in nodes] == [PACKED] * 5
        declared = {attribute.name for attribute in OPERATORS[PACKED].attributes}
        assert all({a.name for a in node.attribute} == declared for node in nodes)
        dilations = [list(a.ints) for node in nodes for a in node.attribute if a.name == "dilation"]
        assert dilations == [[2, 2], [1, 1], [1, 1], [2, 2], [1, 1]]


def test_no_padding_where_no_allowed_image_needs_it():
    model = _load("hf_dinat", LARGE)
    assert not {"Pad", "Slice"} & set(_op_types(model))
    found = run(exported("hf_dinat", LARGE), np.zeros((1, 3, 201, 192), np.float32))
    assert np.isfinite(found["logits"]).all()


def test_computed_padding_exactly_where_some_allowed_image_needs_it():
    """At 32 px the maps are 8, 4, 2, 1; windows of hf_dinat are 6 in stage 1, 3 in stage 2, 3 and 6, and 3."""
    model = _load("hf_dinat", FREE)
    assert len(_around_attention(model, "Pad")) == len(_around_attention(model, "Slice")) == 3


def test_constant_padding_where_the_size_is_fixed():
    model = _load("hf_nat", FIXED)  # maps 24x32, 12x16, 6x8 and 3x4; window 5: the last stage alone
    constants = {tensor.name for tensor in model.graph.initializer}
    pads = [node for node in model.graph.node if node.op_type == "Pad"]
    assert len(pads) == 1
    assert pads[0].input[1] in constants
    assert "Shape" not in _op_types(model)


def test_names_of_inputs_outputs_and_free_axes():
    model = _load("hf_nat", FREE)
    (pixels,) = model.graph.input
    dims = [d.dim_param or d.dim_value for d in pixels.type.tensor_type.shape.dim]
    assert (pixels.name, dims) == ("pixel_values", ["batch", 3, "height", "width"])
    (logits,) = model.graph.output
    assert [d.dim_param or d.dim_value for d in logits.type.tensor_type.shape.dim] == ["batch", 10]


def test_fixed_batch():
    model = _load("hf_nat", dataclasses.replace(FIXED, batch=3))
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [3, 3, 96, 128]


@pytest.mark.parametrize("form", ["hybrid", "portable"])
@pytest.mark.parametrize("settings", [FIXED, FREE], ids=["fixed", "free"])
def test_every_probe_is_a_tensor_with_the_torch_models_value(settings, form):
    settings = dataclasses.replace(settings, form=form, outputs=("logits", "pooled", "hidden_states.0"))
    runner = OnnxRuntimeRunner(exported("hf_dinat", settings), threads=1)
    reference = TorchRunner(golden_checkpoint("hf_dinat"), settings.outputs)
    assert {"stem", "stage2.block1.qkv", "stage3.block2.attention", "stage1.downsample", "norm"} <= set(runner.probes)
    assert set(runner.probes) == set(reference.probes) - {"pooled"}  # an output already
    pixels = np.random.default_rng(0).standard_normal((1, 3, 96, 128)).astype(np.float32)
    found = runner.run({"pixel_values": pixels}, runner.probes)
    expected = reference.run({"pixel_values": pixels}, runner.probes)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert np.abs(found[name] - value).max() <= 1e-4 * value.std(), name


def test_lowering_keeps_the_names_of_probes():
    hybrid, portable = (_load("hf_nat", dataclasses.replace(FIXED, form=form)) for form in ("hybrid", "portable"))
    names = set(metadata_from_properties({p.key: p.value for p in hybrid.metadata_props}, "x").probes)
    assert names <= {out for node in hybrid.graph.node for out in node.output}
    assert names <= {out for node in portable.graph.node for out in node.output}
    assert Recorder().tensors == {}


def test_the_same_export_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    for path in (first, second):
        onnx_from_checkpoint(golden_checkpoint("hf_nat"), path, FREE)
    assert first.read_bytes() == second.read_bytes()


def test_nothing_of_the_exporting_machine(tmp_path):
    path = tmp_path / "model.onnx"
    onnx_from_checkpoint(golden_checkpoint("shi_nat"), path, ExportSettings(image_size=(64, 96)))
    content = path.read_bytes()
    assert not re.search(rb"pkg\.torch|site-packages|\.py\b|/home|/root|/tmp|/usr", content)
    assert str(tmp_path).encode() not in content
    model = onnx.load(path)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert (model.producer_name, model.ir_version) == ("natdeploy", 10)
    assert {o.domain: o.version for o in model.opset_import} == {"": 20, DOMAIN: 1}


def test_weights_and_nodes_have_readable_names():
    model = _load("hf_nat", FIXED)
    names = {tensor.name for tensor in model.graph.initializer}
    assert "stages.0.blocks.0.attention.rpb" in names
    assert "stages.2.blocks.1.attention.qkv.weight_transposed" in names
    assert not [name for name in names if name.startswith("model.")]
    assert "stages.2.blocks.1.attention" in {node.name for node in model.graph.node}


def test_external_data(tmp_path):
    whole, split = tmp_path / "whole.onnx", tmp_path / "split.onnx"
    for path, external in ((whole, False), (split, True)):
        onnx_from_checkpoint(golden_checkpoint("hf_nat"), path, dataclasses.replace(FIXED, external_data=external))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["split.onnx", "split.onnx.data", "whole.onnx"]
    assert split.stat().st_size < whole.stat().st_size / 4
    pixels = np.random.default_rng(1).standard_normal((1, 3, 96, 128)).astype(np.float32)
    assert np.array_equal(run(whole, pixels)["logits"], run(split, pixels)["logits"])


def test_a_file_that_mixes_rpb_and_none_is_refused_as_hybrid_only(tmp_path):
    checkpoint = golden_checkpoint("hf_nat")
    model = onnx.load(exported("hf_nat", FIXED))
    node = next(node for node in model.graph.node if node.domain == DOMAIN)
    del node.input[1]
    mixed = tmp_path / "mixed.onnx"
    onnx.save(model, mixed)
    from natdeploy.errors import NatdeployError
    from natdeploy.onnx_files.lower import lowered_from_onnx

    with pytest.raises(NatdeployError, match="differ in rank or in having a relative positional bias"):
        lowered_from_onnx(mixed, tmp_path / "hybrid.onnx", "hybrid")
    lowered_from_onnx(mixed, tmp_path / "portable.onnx", "portable")
    pixels = np.random.default_rng(1).standard_normal((1, 3, 96, 128)).astype(np.float32)
    assert np.isfinite(run(tmp_path / "portable.onnx", pixels)["logits"]).all()
    assert checkpoint.config.rel_pos_bias
