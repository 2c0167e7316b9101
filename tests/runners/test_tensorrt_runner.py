"""Plans run on a GPU, both pretended: numbers are ONNX Runtime's, and every misuse of memory is noticed."""

import functools
import json

import numpy as np
import onnx
import pytest
from engines import plans
from engines.pretended_machine import VERSIONS, assert_used_well, pretended_machine, write_plan
from engines.pretended_tensorrt import HEADER
from engines.small_onnx import small_onnx

from natdeploy.engines.use import EngineUse
from natdeploy.errors import ContradictionError, NatdeployError
from natdeploy.runners import runner_for_artifact
from natdeploy.runners.onnxruntime_runner import OnnxRuntimeRunner
from natdeploy.runners.tensorrt_runner import TensorRtRunner

GRAPH = EngineUse(cuda_graph=True)
FREE = {"min": [3, 1, 40, 40], "opt": [3, 1, 48, 48], "max": [3, 1, 64, 72]}
BACKENDS = pytest.mark.parametrize("backend", VERSIONS)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    found = pretended_machine(monkeypatch, tmp_path)
    yield found
    assert_used_well(found)


def pixels(*shape, seed=0):
    return {"pixel_values": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


@functools.cache
def onnxruntime_runner(source):
    return OnnxRuntimeRunner(source, threads=1)


def assert_same(found, source, inputs):
    wanted = onnxruntime_runner(source).run(inputs)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, atol=1e-5)


@BACKENDS
@pytest.mark.parametrize("use", [EngineUse(), GRAPH], ids=["plain", "graph"])
def test_every_run_gives_the_outputs_of_its_own_inputs(machine, tmp_path, backend, use):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), backend), use)
    given, found = [], []
    for batch, seed in ((2, 1), (2, 2), (5, 3), (1, 4), (2, 5), (2, 6)):
        given.append(pixels(batch, 1, 32, 32, seed=seed))
        found.append(runner.run(given[-1]))
    for inputs, outputs in zip(given, found, strict=True):  # later runs leave earlier results alone
        assert_same(outputs, small_onnx(), inputs)


@BACKENDS
@pytest.mark.parametrize("use", [EngineUse(), GRAPH], ids=["plain", "graph"])
def test_free_sizes(machine, tmp_path, backend, use):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(free=True), backend, FREE), use)
    for height, width in ((40, 72), (64, 40), (40, 72), (56, 56)):
        inputs = pixels(3, 1, height, width, seed=height)
        assert_same(runner.run(inputs), small_onnx(free=True), inputs)


def test_arrays_need_not_be_contiguous(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))
    inputs = {"pixel_values": pixels(2, 1, 32, 64)["pixel_values"][..., ::2]}
    assert_same(runner.run(inputs), small_onnx(), inputs)


def test_an_input_may_be_a_single_number(machine, tmp_path):
    """Of an engine that natdeploy did not build."""
    source, plan = tmp_path / "m.onnx", tmp_path / "m.plan"
    dims = {"pixel_values": ["batch", 3], "factor": [], "logits": ["batch", 3]}
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n, shape in dims.items()]
    node = onnx.helper.make_node("Mul", ["pixel_values", "factor"], ["logits"])
    graph = onnx.helper.make_graph([node], "product", values[:2], values[2:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), source)
    low, high = {"pixel_values": [1, 3], "factor": []}, {"pixel_values": [4, 3], "factor": []}
    profile = {name: {"min": low[name], "opt": low[name], "max": high[name]} for name in low}
    inside = json.dumps({"onnx": str(source), "profiles": [profile]}).encode()
    plan.write_bytes(plans.plan_bytes("tensorrt", (10, 15, 1, 29), HEADER) + inside)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = TensorRtRunner(plan).run({"pixel_values": rows, "factor": np.array(3, np.float32)})
    np.testing.assert_array_equal(found["logits"], rows * 3)


def test_buffers_are_kept_and_only_grow(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))
    allocations = []
    for batch in (2, 1, 2, 4, 3, 4):
        runner.run(pixels(batch, 1, 32, 32))
        allocations.append(machine.allocations)
    assert allocations == [3, 3, 3, 6, 6, 6]
    assert machine.used() == 4 * (32 * 32 + 10 + 4) * 4


def test_a_graph_is_recorded_once_per_shape_and_replayed(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), "tensorrt"), GRAPH)
    counts = []
    for batch in (2, 2, 2, 1, 1, 2, 6, 1):
        runner.run(pixels(batch, 1, 32, 32))
        counts.append((machine.captures, machine.launches))
    assert counts == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (3, 6), (4, 7), (5, 8)]


def test_tensorrt_for_rtx_records_by_itself_and_from_the_first_run_on(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()), GRAPH)
    runner.run(pixels(1, 1, 32, 32))
    assert machine.events[-1] == "context WHOLE_GRAPH_CAPTURE EAGER"
    assert (machine.captures, machine.launches) == (0, 0)


def test_what_a_graph_does_not_compute_is_not_the_run_before_it(machine, tmp_path, monkeypatch):
    """A recording that holds nothing gives NaN, not the outputs that the ordinary run left in the buffers."""
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), "tensorrt"), GRAPH)
    monkeypatch.setattr(type(runner._held.work), "record", lambda self, work: None)
    monkeypatch.setattr(type(runner._held.work), "replay", lambda self: None)
    assert np.isnan(runner.run(pixels(1, 1, 32, 32))["logits"]).all()


@BACKENDS
def test_what_cannot_be_recorded_is_refused_and_nothing_falls_back(machine, tmp_path, backend):
    plan = write_plan(tmp_path / "m.plan", small_onnx(), backend, content={"not_capturable": True})
    runner = TensorRtRunner(plan, GRAPH)
    for _ in range(2):
        with pytest.raises(NatdeployError, match=r"cannot be run as a CUDA graph.*Leave --cuda-graph out"):
            runner.run(pixels(1, 1, 32, 32))
    inputs = pixels(1, 1, 32, 32)
    assert_same(TensorRtRunner(plan).run(inputs), small_onnx(), inputs)


def test_out_of_memory_leaves_a_runner_that_works(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))
    runner.run(pixels(2, 1, 32, 32))
    machine.capacity = 20_000
    with pytest.raises(NatdeployError, match=r"the GPU is out of memory\. Got: 0 MiB of 0 MiB are free"):
        runner.run(pixels(8, 1, 32, 32))
    inputs = pixels(3, 1, 32, 32)
    assert_same(runner.run(inputs), small_onnx(), inputs)


def test_a_graph_is_recorded_anew_when_its_buffers_went(machine, tmp_path):
    """The larger batch gets a buffer for its input, elsewhere, and none for its outputs."""
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), "tensorrt"), GRAPH)
    inputs = pixels(2, 1, 32, 32)
    runner.run(inputs)
    machine.capacity = 8 * 32 * 32 * 4 + 200
    with pytest.raises(NatdeployError, match="out of memory"):
        runner.run(pixels(8, 1, 32, 32))
    assert_same(runner.run(inputs), small_onnx(), inputs)
    assert machine.captures == 2


def test_a_run_that_fails_says_why_and_the_next_one_may_work(machine, tmp_path, monkeypatch):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))
    monkeypatch.setitem(runner._held.loaded.engine.plan, "fails", True)
    with pytest.raises(NatdeployError, match=r"'m\.plan': TensorRT for RTX could not run it\. Got: misaligned address"):
        runner.run(pixels(1, 1, 32, 32))
    monkeypatch.undo()


def test_closing(machine, tmp_path):
    with TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()), GRAPH) as runner:
        runner.run(pixels(1, 1, 32, 32))
        assert machine.leaks()
    assert machine.leaks() == []
    runner.close()
    with pytest.raises(NatdeployError, match="is closed"):
        runner.run(pixels(1, 1, 32, 32))


def test_a_context_that_cannot_be_made_leaves_nothing_behind(machine, tmp_path):
    plan = write_plan(tmp_path / "m.plan", small_onnx(), content={"no_context": True})
    with pytest.raises(NatdeployError, match=r"cannot prepare 'm\.plan' for running.*out of memory \(Req") as raised:
        TensorRtRunner(plan)
    assert raised.traceback and machine.leaks() == []  # while the error holds on to the runner


def test_the_plan_is_described(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(free=True), "tensorrt", FREE), GRAPH)
    assert runner.name == "TensorRT 10.15.1.29 NVIDIA H100 (CUDA graph)"
    assert [(spec.dtype, spec.shape) for spec in runner.inputs] == [("float32", (3, 1, "?", "?"))]
    assert [(spec.name, spec.dtype, spec.shape) for spec in runner.outputs] == [
        ("logits", "float32", (3, 10)),
        ("pooled", "float32", (3, 4)),
    ]
    limits = runner.size_limits
    assert (limits.minimum, limits.maximum, limits.batch) == ((40, 40), (64, 72), 3)
    assert runner.probes == ()
    assert runner.environment() == {
        "tensorrt": "10.15.1.29",
        "device": "NVIDIA H100, compute capability 9.0",
        "cuda": "13.0",
        "driver": "for CUDA 13.0",
        "plugin": "natdeploy 0.1.0, kernels 1, another build than the plan's",
        "cuda_graph": "yes",
    }


def test_a_batch_with_bounds(machine, tmp_path):
    profile = {"min": [2, 1, 32, 32], "opt": [4, 1, 32, 32], "max": [8, 1, 32, 32]}
    limits = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), profile=profile)).size_limits
    assert (limits.batch, limits.batch_range, limits.is_fixed) == (None, (2, 8), True)


@pytest.mark.parametrize("options, weights", [({"tf32": True}, "tf32"), ({"tf32": False}, "float32")])
def test_tf32_is_another_precision(machine, tmp_path, options, weights):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), options=options))
    assert runner.metadata.precision["weights"] == weights
    assert ("(TF32)" in runner.name) is options["tf32"]


def test_without_a_sidecar_the_engine_itself_tells(machine, tmp_path):
    plan = write_plan(tmp_path / "m.engine", small_onnx())
    (tmp_path / "m.engine.json").unlink()
    runner = runner_for_artifact(plan)
    inputs = pixels(2, 1, 32, 32)
    assert_same(runner.run(inputs), small_onnx(), inputs)
    assert runner.metadata is None
    with pytest.raises(NatdeployError, match="from 1x1x32x32 to 8x1x32x32"):
        runner.run(pixels(9, 1, 32, 32))


@pytest.mark.parametrize(
    "shape, says",
    [
        ((9, 1, 32, 32), "'pixel_values' of 9x1x32x32. Needed: 'pixel_values' from 1x1x32x32 to 8x1x32x32"),
        ((1, 1, 32, 48), "'pixel_values' is 1x1x32x48, the model takes ?x1x32x32"),
        ((1, 3, 32, 32), "'pixel_values' is 1x3x32x32, the model takes ?x1x32x32"),
    ],
)
def test_shapes_outside_of_the_profile_never_reach_tensorrt(machine, tmp_path, shape, says):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))
    with pytest.raises(NatdeployError) as raised:
        runner.run(pixels(*shape))
    assert says in str(raised.value)
    assert machine.allocations == 0


@pytest.mark.parametrize("height, width", [(39, 72), (40, 73), (72, 64)])
def test_every_axis_has_its_own_bounds(machine, tmp_path, height, width):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(free=True), profile=FREE))
    with pytest.raises(NatdeployError, match=rf"of 3x1x{height}x{width}\. Needed: .* from 3x1x40x40 to 3x1x64x72"):
        runner.check(pixels(3, 1, height, width))


def test_a_plan_has_no_inner_tensors(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))
    with pytest.raises(NatdeployError, match="has no inner tensors named stem"):
        runner.run(pixels(1, 1, 32, 32), ["stem"])


@pytest.mark.parametrize(
    "content, says",
    [
        ({"dtype": "BF16"}, "'pixel_values' is BF16; 'logits' is BF16; 'pooled' is BF16"),
        ({"location": "HOST"}, "'pixel_values' is a shape, not on the GPU"),
        ({"format": "HWC8"}, "'pixel_values' is laid out as HWC8"),
    ],
)
def test_tensors_that_are_no_plain_arrays_on_the_gpu(machine, tmp_path, content, says):
    with pytest.raises(NatdeployError) as raised:
        TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), content=content))
    assert says in str(raised.value)


def test_outputs_whose_size_depends_on_numbers(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), content={"data_dependent": True}))
    with pytest.raises(NatdeployError, match="cannot tell the shapes of logits, pooled before it runs"):
        runner.run(pixels(1, 1, 32, 32))


def test_the_plugin_is_loaded_before_the_plan_and_host_code_is_never_allowed_by_itself(machine, tmp_path):
    TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))
    assert machine.events == ["plugin libnatdeploy_trt.so", "deserialize", "context"]
    machine.events.clear()
    TensorRtRunner(tmp_path / "m.plan", EngineUse(allow_host_code=True))  # it has none, by its sidecar
    assert machine.events == ["deserialize", "context"]


@BACKENDS
def test_several_runners_share_the_plugin_library(machine, tmp_path, backend):
    plan = write_plan(tmp_path / "m.plan", small_onnx(), backend)
    inputs = pixels(2, 1, 32, 32)
    with TensorRtRunner(plan) as one, TensorRtRunner(plan, GRAPH) as other:
        assert_same(one.run(inputs), small_onnx(), inputs)
        assert_same(other.run(inputs), small_onnx(), inputs)
    assert machine.events.count("plugin libnatdeploy_trt.so") == 1


def test_what_tensorrt_said_of_another_plan_is_not_told_again(machine, tmp_path):
    says = {"plugin": False, "says": "Error Code 1: Some (of the first)"}
    plan = write_plan(tmp_path / "m.plan", small_onnx(), content=says, plugin=None)
    with pytest.raises(NatdeployError, match="of the first"):
        TensorRtRunner(plan)
    machine.refused_plugin = True
    with pytest.raises(NatdeployError, match=r"Got: its registry refused '.*libnatdeploy_trt\.so'"):
        TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx()))


def test_a_plan_that_carries_its_plugin_needs_no_library(machine, tmp_path, monkeypatch):
    plan = write_plan(tmp_path / "m.plan", small_onnx(), content={"host_code": True}, plugin={"embedded": True})
    runner = TensorRtRunner(plan, EngineUse(allow_host_code=True))
    assert machine.events == ["deserialize with host code", "context"]
    assert runner.environment()["plugin"] == "natdeploy 0.1.0, carried by the plan"
    inputs = pixels(2, 1, 32, 32)
    assert_same(runner.run(inputs), small_onnx(), inputs)


def test_a_plan_without_our_op_needs_no_library(machine, tmp_path):
    runner = TensorRtRunner(write_plan(tmp_path / "m.plan", small_onnx(), content={"plugin": False}, plugin=None))
    assert machine.events == ["deserialize", "context"]
    assert runner.environment()["plugin"] == "none"


def test_options_of_engines_are_for_engines():
    with pytest.raises(ContradictionError, match=r"--cuda-graph is for plans of TensorRT; --allow-host-code is for"):
        runner_for_artifact(small_onnx(), EngineUse(cuda_graph=True, allow_host_code=True))
