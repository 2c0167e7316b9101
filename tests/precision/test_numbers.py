"""The golden checkpoints in half precision: no worse than twice PyTorch's own error, both against float64."""

from functools import cache

import numpy as np
import onnx
import pytest
import torch
from golden import MODELS, golden_arrays
from onnx_files.exported import error, exported, golden_checkpoint, run

from natdeploy.models import model_from_weights
from natdeploy.onnx_files.lower import lowered_from_onnx
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.precision.files import converted_from_onnx
from natdeploy.runners.onnx_reference_runner import OnnxReferenceRunner
from natdeploy.runners.onnxruntime_runner import OnnxRuntimeRunner
from natdeploy.verification.tolerances import MODEL_TOLERANCE

TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}
SLOW = pytest.mark.slow


@cache
def torch_outputs(name, dtype):
    """PyTorch's own: all weights and maps in ``dtype``; our attention op accumulates in float32, as PyTorch's do."""
    checkpoint = golden_checkpoint(name)
    model = model_from_weights(checkpoint.config, checkpoint.tensors).to(dtype)
    with torch.no_grad():
        outputs = model(torch.from_numpy(golden_arrays(name)[0]).to(dtype))
    return {name: output.double().numpy() for name, output in outputs.items()}


@cache
def converted(name, form, precision, free):
    """Convert an export; of the plugin form a hybrid one is made afterwards, so that it runs."""
    size = golden_arrays(name)[0].shape[2:]
    sizes = {"dynamic_size": (min(size), max(size))} if free else {"image_size": size}
    source = exported(name, ExportSettings(form=form, **sizes))
    target = source.with_name(f"{source.stem}-{precision}.onnx")
    converted_from_onnx(source, target, precision)
    if form == "plugin":
        lowered_from_onnx(target, target, "hybrid")
    return target


def run_in(precision, path, pixels):
    if precision == "fp16":
        return run(path, pixels)
    return OnnxReferenceRunner(path).run({"pixel_values": pixels})


def cases():
    """Every model in every form; an isotropic model has one size. What takes seconds each is slow."""
    for name in MODELS:
        for form in ("hybrid", "plugin", "portable"):
            yield pytest.param(name, form, False, id=f"{name}-{form}-fixed", marks=SLOW if form == "plugin" else ())
            if name != "shi_isotropic":
                yield pytest.param(name, form, True, id=f"{name}-{form}-free", marks=SLOW)


@pytest.mark.parametrize("precision", TORCH)
@pytest.mark.parametrize(("name", "form", "free"), list(cases()))
def test_the_error_is_at_most_twice_pytorchs(name, form, free, precision):
    pixels = golden_arrays(name)[0]
    found = run_in(precision, converted(name, form, precision, free), pixels)
    exact, half = torch_outputs(name, torch.float64), torch_outputs(name, TORCH[precision])
    assert found.keys() == exact.keys()
    for output, values in found.items():
        assert values.dtype == np.float32
        ours, pytorchs = error(exact[output], values.astype(np.float64)), error(exact[output], half[output])
        assert 0 < ours <= 2 * pytorchs, output
        assert ours <= MODEL_TOLERANCE[{"fp16": "float16", "bf16": "bfloat16"}[precision]], output


def test_lowering_before_or_after_is_the_same():
    """The portable form keeps in float32 just what the operator does."""
    name, pixels = "hf_dinat", golden_arrays("hf_dinat")[0]
    portable = converted(name, "portable", "fp16", False)
    lowered = portable.with_name("lowered.onnx")
    lowered_from_onnx(converted(name, "hybrid", "fp16", False), lowered, "portable")
    probes = [f"stage{i}.block1.{what}" for i in (1, 2) for what in ("qkv", "attention", "output")]
    first, second = (OnnxRuntimeRunner(path).run({"pixel_values": pixels}, probes) for path in (portable, lowered))
    for probe in (*probes, "logits"):
        assert error(first[probe].astype(np.float64), second[probe].astype(np.float64)) < 3e-3


def test_weights_are_pytorchs():
    """What is stored is what PyTorch's ``half()`` stores."""
    checkpoint = golden_checkpoint("hf_nat")
    model = onnx.load(converted("hf_nat", "hybrid", "fp16", False))
    stored = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    weights = model_from_weights(checkpoint.config, checkpoint.tensors).state_dict()
    halves = 0
    for name, weight in weights.items():
        found = stored[name] if name in stored else stored[f"{name}_transposed"].T
        expected = weight.numpy() if found.dtype == np.float32 else weight.half().numpy()
        assert np.array_equal(found, expected), name
        halves += found.dtype == np.float16
        kept = "norm" in name or name.startswith("head") or name.endswith("rpb")
        assert (found.dtype == np.float32) == kept, name
    assert halves > 20
