"""Files in bfloat16 run in onnx's reference evaluator, behind the same protocol."""

from functools import cache

import numpy as np
import onnx
import pytest
from command_line import digits_onnx, edited
from onnx_files.exported import error

from natdeploy.errors import NatdeployError
from natdeploy.precision.files import converted_from_onnx
from natdeploy.runners import onnx_as_data, runner_for_artifact
from natdeploy.runners.onnx_reference_runner import OnnxReferenceRunner
from natdeploy.runners.onnxruntime_runner import OnnxRuntimeRunner


@cache
def bfloat16_onnx():
    path = digits_onnx().with_name("digits.bf16.onnx")
    converted_from_onnx(digits_onnx(), path, "bf16")
    return path


def pixels(batch=2):
    return {"pixel_values": np.random.default_rng(0).standard_normal((batch, 1, 32, 32)).astype(np.float32)}


def test_the_file_decides_what_runs_it():
    assert isinstance(runner_for_artifact(bfloat16_onnx()), OnnxReferenceRunner)
    assert isinstance(runner_for_artifact(digits_onnx()), OnnxRuntimeRunner)


def test_outputs_and_inner_tensors_are_readable():
    runner, plain = runner_for_artifact(bfloat16_onnx()), runner_for_artifact(digits_onnx())
    assert (runner.inputs, runner.outputs) == (plain.inputs, plain.outputs)
    assert (runner.probes, runner.size_limits) == (plain.probes, plain.size_limits)
    assert runner.metadata.labels == plain.metadata.labels
    assert runner.environment()["onnx"] == onnx.__version__ in runner.name
    probes = ["stage2.block1.attention", "pooled"]
    found, expected = runner.run(pixels(), probes), plain.run(pixels(), probes)
    assert list(found) == list(expected) == ["logits", *probes]
    for name, array in found.items():
        assert array.dtype == np.float32
        assert 1e-4 < error(expected[name], array) < 0.1
    held = found["stage2.block1.attention"].view(np.uint32)
    assert not (held & 0xFFFF).any()  # numbers of bfloat16


def test_inputs_and_probes_that_do_not_fit_are_refused():
    runner = runner_for_artifact(bfloat16_onnx())
    with pytest.raises(NatdeployError, match="is 2x1x32x40"):
        runner.run({"pixel_values": np.zeros((2, 1, 32, 40), np.float32)})
    with pytest.raises(NatdeployError, match="no inner tensors named a, b"):
        runner.run(pixels(), ["stem", "a", "b"])


def test_an_evaluator_without_bfloat16_is_named(monkeypatch):
    monkeypatch.setattr(onnx, "__version__", "1.18.0")
    with pytest.raises(NatdeployError, match=r"onnx 1.18.0 cannot run the bfloat16 of 'digits.bf16.onnx'.*1.19"):
        OnnxReferenceRunner(bfloat16_onnx())


def test_what_the_evaluator_cannot_do_is_one_sentence(tmp_path):
    def misuse(model):
        (shape,) = {node.input[1] for node in model.graph.node if node.op_type == "ReduceMean"}
        (weight,) = (w for w in model.graph.initializer if w.name == shape)
        weight.CopyFrom(onnx.numpy_helper.from_array(np.array([9]), shape))

    path = edited(bfloat16_onnx(), tmp_path / "m.onnx", misuse)
    with pytest.raises(NatdeployError, match=r"evaluator could not run 'm.onnx'. Got: ") as refused:
        OnnxReferenceRunner(path).run(pixels())
    assert "\n" not in str(refused.value)


def test_a_file_is_read_once_before_its_runtime_opens_it(monkeypatch):
    read = onnx_as_data.read_onnx
    seen = []
    monkeypatch.setattr(onnx_as_data, "read_onnx", lambda path, **how: seen.append(path) or read(path, **how))
    for path in (digits_onnx(), bfloat16_onnx()):
        runner_for_artifact(path)
    assert seen == [digits_onnx(), bfloat16_onnx()]
