"""``natdeploy verify`` and ``natdeploy infer`` of plans, on a pretended GPU and without one."""

import json

import pytest
from command_line import (
    DIGITS,
    IMAGES,
    digits_onnx,
    dynamic_onnx,
    edit_weight,
    edited,
    one_paragraph,
    run,
    two_outputs_onnx,
)
from engines.pretended_machine import (
    VERSIONS,
    write_plan,
)

FREE = {"min": [3, 1, 40, 40], "opt": [3, 1, 48, 48], "max": [3, 1, 64, 72]}
EMBEDDED = {"content": {"host_code": True}, "plugin": {"embedded": True}}


@pytest.mark.parametrize("backend", VERSIONS)
def test_a_plan_agrees_with_its_checkpoint(machine, tmp_path, backend):
    plan = write_plan(tmp_path / "m.plan", digits_onnx(), backend)
    result = run("verify", plan, "--checkpoint", DIGITS, "--images", DIGITS / "images", "--json")
    assert result.status == 0, result.err
    assert result.json["candidate"].endswith(f"{VERSIONS[backend]} NVIDIA H100")
    (logits,) = result.json["outputs"]
    assert (logits["name"], logits["tolerance"], logits["top1_agreement"]) == ("logits", 1e-4, 1.0)
    assert result.json["checkpoint_is_the_exported_one"] is True
    assert result.json["environments"]["candidate"]["plugin"].startswith("natdeploy 0.1.0, kernels 1")


def test_free_sizes_as_a_graph(machine, tmp_path):
    plan = write_plan(tmp_path / "m.plan", dynamic_onnx(), "tensorrt", FREE)
    result = run("verify", plan, "--checkpoint", DIGITS, "--cuda-graph")
    assert result.status == 0, result.err
    assert "TensorRT 10.15.1.29 NVIDIA H100 (CUDA graph)" in result.out
    assert "seeded noise 3x1x40x40" in result.out
    assert machine.captures == 3


def test_recorded_outputs_of_several(machine, tmp_path):
    fixed = {point: [4, 1, 40, 32] for point in ("min", "opt", "max")}
    plan = write_plan(tmp_path / "m.engine", two_outputs_onnx(), profile=fixed)
    recorded = tmp_path / "r.npz"
    arguments = ("--checkpoint", DIGITS, "--save-reference", recorded)
    assert run("verify", plan, *arguments).status == 0
    result = run("verify", plan, "--against", recorded, "--json")
    assert result.status == 0, result.err
    assert [output["name"] for output in result.json["outputs"]] == ["logits", "pooled"]


def test_a_plan_that_takes_pixels_as_they_are(machine, tmp_path):
    source = tmp_path / "m.onnx"
    sizes = ("--dynamic-size", "32:64", "--input-format", "uint8-nhwc")
    assert run("export", DIGITS, "-o", source, *sizes).status == 0
    profile = {"min": [1, 32, 40, 1], "opt": [2, 32, 40, 1], "max": [4, 56, 40, 1]}
    plan = write_plan(tmp_path / "m.plan", source, profile=profile)
    result = run("verify", plan, "--checkpoint", DIGITS, "--json")
    assert result.status == 0, result.err
    assert result.json["inputs"].startswith("seeded noise 2x32x40x1 + ")
    assert run("infer", plan, IMAGES[0]).status == 1  # 32x32, which it was not built for


def test_images_come_in_batches_that_the_engine_takes(machine, tmp_path):
    profile = {"min": [3, 1, 32, 32], "opt": [4, 1, 32, 32], "max": [8, 1, 32, 32]}
    plan = write_plan(tmp_path / "m.plan", digits_onnx(), profile=profile)
    result = run("verify", plan, "--checkpoint", DIGITS, "--images", DIGITS / "images", "--json")
    assert result.status == 0, result.err
    assert result.json["inputs"] == "20 images 2 of 8x1x32x32 + 4x1x32x32"
    assert run("infer", plan, IMAGES[0]).status == 0  # alone in a batch of three


def test_another_weight_is_noticed(machine, tmp_path):
    changed = edited(digits_onnx(), tmp_path / "c.onnx", lambda model: edit_weight(model, _a_bias(model), _add))
    plan = write_plan(tmp_path / "m.plan", changed)
    result = run("verify", plan, "--checkpoint", DIGITS)
    assert result.status == 3
    assert "DISAGREES: logits" in result.out
    assert result.err.splitlines()[-1].startswith("Next: verify the ONNX file that the plan was built from")


def _a_bias(model):
    return next(weight.name for weight in model.graph.initializer if weight.name.endswith("bias"))


def _add(array):
    array.flat[0] += 1


@pytest.mark.parametrize(
    "weights, options, tolerance",
    [("float32", {}, 1e-4), ("float32", {"tf32": True}, 2e-2), ("float16", {"precision": "fp16"}, 2e-2),
     ("bfloat16", {"precision": "bf16"}, 2.5e-1)],
    ids=["fp32", "tf32", "fp16", "bf16"],
)  # fmt: skip
def test_each_precision_is_judged_by_its_own_tolerance(machine, tmp_path, weights, options, tolerance):
    plan = write_plan(tmp_path / "m.plan", digits_onnx(), options=options)
    sidecar = tmp_path / "m.plan.json"
    document = json.loads(sidecar.read_text("utf-8"))
    document["precision"]["weights"] = weights
    sidecar.write_text(json.dumps(document), "utf-8")
    result = run("verify", plan, "--checkpoint", DIGITS, "--json")
    assert result.status == 0, result.err
    assert result.json["outputs"][0]["tolerance"] == tolerance
    assert ("(TF32)" in result.json["candidate"]) is (tolerance == 2e-2 and weights == "float32")


@pytest.mark.parametrize("options", [(), ("--cuda-graph",)], ids=["plain", "graph"])
def test_held_out_digits_are_read(machine, tmp_path, options):
    plan = write_plan(tmp_path / "m.plan", digits_onnx(), "tensorrt")
    result = run("infer", plan, *IMAGES, "--top", "1", "--json", *options)
    assert result.status == 0, result.err
    for image, one in zip(IMAGES, result.json, strict=True):
        assert one["guesses"][0]["index"] == int(image.name.split("-")[1])
    assert machine.captures == len(options)
    assert machine.launches == len(options) * len(IMAGES)


def test_host_code_needs_consent(machine, tmp_path):
    plan = write_plan(tmp_path / "m.plan", digits_onnx(), **EMBEDDED)
    for command in (("verify", plan, "--checkpoint", DIGITS), ("infer", plan, IMAGES[0])):
        refused = run(*command)
        one_paragraph(
            refused, "it carries the plugin library, whose code would run on this machine", "--allow-host-code"
        )
        assert machine.events == []
    agrees = run("verify", plan, "--checkpoint", DIGITS, "--allow-host-code")
    assert agrees.status == 0
    assert agrees.err.splitlines()[-1] == f"Next: natdeploy infer {plan} IMAGE --allow-host-code"
    assert run("infer", plan, IMAGES[0], "--allow-host-code").status == 0
    assert machine.events.count("deserialize with host code") == 2


@pytest.mark.parametrize("config, code", [({}, True), ({"EXCLUDE_LEAN_RUNTIME": "1"}, False)])
def test_a_version_compatible_plan_carries_a_runtime(machine, tmp_path, config, code):
    options = {"version_compatible": True, "config": config}
    plan = write_plan(tmp_path / "m.plan", digits_onnx(), "tensorrt", options=options)
    result = run("infer", plan, IMAGES[0])
    if code:
        one_paragraph(result, "it carries a TensorRT runtime", "--allow-host-code")
    else:
        assert result.status == 0, result.err


def test_layers_are_for_onnx_files_and_options_of_engines_for_engines(tmp_path):
    layers = run("verify", tmp_path / "m.plan", "--checkpoint", DIGITS, "--layers")
    assert layers.status == 2
    assert "--layers is for ONNX files: a plan gives none of its inner tensors" in layers.err
    both = run("verify", digits_onnx(), "--checkpoint", DIGITS, "--cuda-graph", "--allow-host-code")
    assert both.status == 2
    assert "--cuda-graph is for plans of TensorRT; --allow-host-code is for plans of TensorRT" in both.err
    assert run("infer", digits_onnx(), IMAGES[0], "--cuda-graph").status == 2
