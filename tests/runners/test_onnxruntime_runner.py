"""The runner over a stock ONNX Runtime."""

import numpy as np
import pytest
from command_line import digits_onnx, dynamic_onnx, portable_onnx, two_outputs_onnx

from natdeploy.errors import NatdeployError
from natdeploy.runners import runner_for_artifact
from natdeploy.runners.onnxruntime_runner import OnnxRuntimeRunner


def pixels(*shape, dtype=np.float32):
    return {"pixel_values": np.random.default_rng(0).standard_normal(shape).astype(dtype)}


def test_it_says_what_it_takes_and_gives():
    runner = runner_for_artifact(two_outputs_onnx())
    assert [(spec.name, spec.dtype, spec.shape) for spec in runner.inputs] == [
        ("pixel_values", "float32", ("batch", 1, 40, 32))
    ]
    assert [spec.name for spec in runner.outputs] == ["logits", "pooled"]
    assert "pooled" not in runner.probes  # an output already
    assert "stage1.block1.qkv" in runner.probes
    assert str(runner.size_limits) == "40x32"
    assert runner.environment()["device"] == "cpu"


@pytest.mark.parametrize("file", [digits_onnx, portable_onnx], ids=["hybrid", "portable"])
def test_probes_change_no_output(file):
    runner, inputs = OnnxRuntimeRunner(file(), threads=1), pixels(2, 1, 32, 32)
    plain = runner.run(inputs)
    probed = runner.run(inputs, ["stage3.block1.attention", "stem"])
    assert set(probed) == {"logits", "stage3.block1.attention", "stem"}
    assert probed["stem"].shape == (2, 8, 8, 32)
    assert np.allclose(plain["logits"], probed["logits"], atol=1e-5)
    assert runner.environment()["threads"] == "1"


@pytest.mark.parametrize(
    "inputs, says",
    [
        ({}, "'pixel_values' is missing"),
        ({**pixels(3, 1, 40, 40), "mask": np.zeros(1)}, "no input named 'mask'"),
        (pixels(3, 1, 40, 40, dtype=np.float64), "is float64, the model takes float32"),
        (pixels(3, 2, 40, 40), "is 3x2x40x40, the model takes 3x1xheightxwidth"),
        (pixels(3, 1, 40), "is 3x1x40"),
        (pixels(3, 1, 40, 73), "does not accept images of 40x73. Needed: 40 to 72"),
    ],
)
def test_inputs_that_do_not_fit(inputs, says):
    with pytest.raises(NatdeployError) as raised:
        runner_for_artifact(dynamic_onnx()).run(inputs)
    assert says in str(raised.value)


def test_unknown_probes():
    with pytest.raises(NatdeployError, match=r"no inner tensors named a, b\. .*--probes"):
        runner_for_artifact(digits_onnx()).run(pixels(1, 1, 32, 32), ["stem", "a", "b"])


def test_inner_tensors_of_files_beyond_protobufs_limit_are_refused(monkeypatch):
    monkeypatch.setattr("natdeploy.onnx_files.files.LARGEST_SINGLE_FILE", 2**20)
    runner, inputs = OnnxRuntimeRunner(digits_onnx(), threads=1), pixels(1, 1, 32, 32)
    assert runner.run(inputs)["logits"].shape == (1, 10)
    with pytest.raises(NatdeployError, match=r"GiB of weights\. Needed: less than 2 GiB\. .*without --layers"):
        runner.run(inputs, ["stem"])
