"""The run before anything is written: what it finds, and where it says that it could not look."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx_files.exported import exported
from precision.small import ir_model

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import read_onnx
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.precision import check
from natdeploy.precision.files import checked_conversion

TEXT = "a = Mul (x, scale)\nb = Mul (a, inverse)\ny = Relu (b)"


def checked(model, precision="fp16"):
    return checked_conversion(model, precision, "small.onnx")[1]


def test_the_largest_value_is_float32s():
    constants = {"scale": np.float32(1000), "inverse": np.float32(1e-3)}
    found = checked(ir_model(TEXT, constants))
    x = np.random.default_rng(0).standard_normal((1, 2, 4)).astype(np.float32)
    assert found.largest == pytest.approx(1000 * np.abs(x).max(), rel=1e-6)
    assert (found.output, found.limit, found.tolerance) == ("y", 65504, 2e-2)
    assert found.runtime.startswith("ONNX Runtime ")
    assert 0 < found.error < 2e-3


def test_values_beyond_the_range_are_told_by_layer():
    constants = {"scale": np.float32(6e4), "inverse": np.float32(1e-3)}
    model = ir_model(TEXT, constants)
    with pytest.raises(NatdeployError, match=r"values that float16 cannot hold.*a up to 7.82e\+04") as refused:
        checked(model)
    assert "b up to" not in str(refused.value)
    assert checked(ir_model(TEXT, constants), "bf16").largest == pytest.approx(78243, rel=1e-3)


def test_float32_results_that_are_cast_down_count():
    """The sum runs in float32 but goes into a half product."""
    model = ir_model("a = Mul (x, scale)\nb = ReduceSum (a, axis)\ny = Mul (b, inverse)", {
        "scale": np.float32(4e4), "axis": np.array([2]), "inverse": np.float32(1e-3)}, y=("N", 2, 1))  # fmt: skip
    with pytest.raises(NatdeployError, match=r"b up to"):
        checked(model)


def test_float32_outputs_may_be_large():
    model = ir_model("a = Mul (x, scale)\ny = ReduceSum (a, axis)", {
        "scale": np.float32(3e4), "axis": np.array([2])}, y=("N", 2, 1))  # fmt: skip
    found = checked(model)
    assert found.error < 1e-3
    assert found.largest < 65504


def test_many_layers_are_counted():
    lines = [f"t{i + 1} = Add (t{i}, far)" for i in range(9)]
    text = "\n".join(["t0 = Mul (x, far)", *lines, "y = Mul (t9, inverse)"])
    constants = {"far": np.float32(6e4), "inverse": np.float32(1e-6)}
    with pytest.raises(NatdeployError, match=r"t4 up to .*, and \d layers more"):
        checked(ir_model(text, constants))


@pytest.mark.parametrize("form", ["hybrid", "plugin", "portable"])
def test_every_form_runs(form):
    model = read_onnx(exported("hf_nat", ExportSettings(form=form, image_size=(64, 96), batch=2)))
    found = checked(model)
    assert found.skipped is None
    assert 0 < found.error < 1e-2
    assert bool(model.functions) == (form == "hybrid")  # what the check needed is not in the model


def test_what_it_cannot_run_it_says(monkeypatch):
    def skipped(model, precision="fp16"):
        found = checked(model, precision)
        assert found.error is None
        return found.skipped

    free = ir_model("y = Relu (x)", x=("N", "H", 4), y=("N", "H", 4))
    assert "shape is not known" in skipped(free)
    monkeypatch.setattr(check, "_PIXELS_FOR_EVALUATOR", 1)
    assert "too large for onnx's reference evaluator" in skipped(ir_model("y = Relu (x)"), "bf16")
    assert checked(ir_model("y = Relu (x)")).error is not None
    monkeypatch.setattr(check, "_LARGEST_MESSAGE", 10)
    assert "2 GiB" in skipped(ir_model("y = Add (x, bias)"))
    monkeypatch.setattr(check, "is_installed", lambda module: False)
    assert "ONNX Runtime is not installed" in skipped(ir_model("y = Relu (x)"))


def test_an_output_that_is_no_number_is_refused(monkeypatch):
    """As a runtime might give it whose sums overflow on the way, though no tensor does."""
    monkeypatch.setattr(check, "_run_in_onnxruntime", broken(check._run_in_onnxruntime))
    with pytest.raises(NatdeployError, match=r"'small.onnx' in float16 gives no usable 'y'. Got: non-finite"):
        checked(ir_model("y = Relu (x)"))


def broken(run):
    runs = []

    def change(model, inputs):
        runtime, found = run(model, inputs)
        runs.append(runtime)
        return runtime, {name: array * np.nan if len(runs) == 2 else array for name, array in found.items()}

    return change


def test_types_are_not_shared_with_the_copy():
    model = ir_model("a = Add (x, bias)\ny = Relu (a)")
    copy = model.clone()
    checked(model)
    assert {node.outputs[0].dtype for node in copy.graph} == {ir.DataType.FLOAT}
