"""``natdeploy inspect`` of engines, without TensorRT: what header and sidecar say, and what is refused."""

import json
import re

import pytest
from command_line import digits_onnx, one_paragraph, run, run_process
from engines.plans import engine, plan_bytes, write_plan
from engines.pretended_machine import assert_used_well, pretended_machine
from engines.pretended_machine import write_plan as write_runnable_plan
from engines.small_onnx import small_onnx

from natdeploy.engines import backends, description
from natdeploy.engines.gpu import Gpu


@pytest.fixture
def plan(tmp_path):
    return write_plan(tmp_path / "m.plan")


def rewrite(plan, change):
    path = plan.with_name("m.plan.json")
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


def test_header_and_sidecar(plan):
    result = run("inspect", plan)
    assert (result.status, result.err) == (0, "")
    facts = {" ".join(line.split()) for line in result.out.splitlines()}
    assert {"built by TensorRT for RTX 1.7.1.116", "attention plugins 1", "embedded no", "TF32 0"} <= facts
    document = run("inspect", plan, "--json").json
    assert (document["kind"], document["file_bytes"]) == ("plan", 4096)
    assert document["built_by"] == "TensorRT for RTX 1.7.1.116"
    assert document["shapes"] == ["pixel_values 1x1x32x32 / 1x1x32x32 / 8x1x32x32"]
    assert (document["attention_plugins"], document["attention_types"]) == (1, ["float16"])
    assert (document["family"], document["labels"]) == ("dinat", 10)
    assert document["config"] == {"TF32": "0"}
    assert document["plugin"]["file"] == "libnatdeploy_trt.so"


def test_it_needs_neither_torch_nor_tensorrt(plan):
    blocked = ("torch", "onnxruntime", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    assert run_process("inspect", plan, "--json", blocked=blocked).json["kind"] == "plan"


def test_a_plan_of_a_file_that_natdeploy_did_not_write(tmp_path):
    document = run("inspect", write_plan(tmp_path / "m.plan", with_metadata=False), "--json").json
    assert "family" not in document
    assert document["inputs"] == [{"name": "pixel_values", "dtype": "float32", "shape": [-1, 1, 32, 32]}]


def test_without_a_sidecar(plan):
    plan.with_name("m.plan.json").unlink()
    result = run("inspect", plan)
    assert result.status == 0
    assert "TensorRT for RTX 1.7.1.116" in result.out
    assert result.err == (
        "note: there is no 'm.plan.json' beside 'm.plan', which tells what the engine is: only its header is known\n"
    )


def test_plans_of_tensorrt_itself(tmp_path):
    (tmp_path / "m.engine").write_bytes(plan_bytes("tensorrt", (10, 15, 1, 29)))
    assert run("inspect", tmp_path / "m.engine", "--json").json["built_by"] == "TensorRT 10.15.1.29"


@pytest.mark.parametrize(
    "content, says",
    [
        (None, ["there is no plan"]),
        (b"", ["is no TensorRT plan", "an empty file", "natdeploy build-engine"]),
        (b"This is a text.", ["is no TensorRT plan", "15 bytes that begins with b'This'"]),
        (plan_bytes()[:4095], ["is a plan that was cut off", "4095 bytes", "4096 bytes, as its header says"]),
        (plan_bytes()[:20], ["is a plan that was cut off", "20 bytes", "at least 32 bytes"]),
        (plan_bytes() + b"\0", ["do not belong together", "4097 bytes, the sidecar says 4096"]),
        (plan_bytes()[:-1] + b"\1", ["do not belong together", "other bytes than the sidecar's sha256 says"]),
        (plan_bytes("tensorrt"), ["do not belong together", "a plan of TensorRT, the sidecar says tensorrt-rtx"]),
    ],
    ids=["missing", "empty", "text", "truncated", "header truncated", "longer", "other", "other backend"],
)
def test_plans_that_are_none(plan, content, says):
    plan.unlink() if content is None else plan.write_bytes(content)
    one_paragraph(run("inspect", plan), *says)


def test_a_directory(tmp_path):
    (tmp_path / "m.plan").mkdir()
    one_paragraph(run("inspect", tmp_path / "m.plan"), "cannot read", "Is a directory")


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda d: d.pop("engine"), ["the sidecar", "is damaged"]),
        (lambda d: d["engine"].update(schema=2), ["is of version 2", "Update natdeploy"]),
        (lambda d: d["engine"].update(backend="openvino"), ["is damaged", "engine.backend", "'openvino'"]),
        (lambda d: d["engine"]["plan"].pop("sha256"), ["is damaged", "'sha256' is a required property"]),
        (lambda d: d["engine"]["plugin"]["creators"][0].update(name=[]), ["is damaged", "creators.0.name", "'string'"]),
        (lambda d: d.update(labels=["one"]), ["m.plan.json' is damaged", "1 labels for 10 classes"]),
    ],
)
def test_damaged_sidecars(plan, change, says):
    rewrite(plan, change)
    one_paragraph(run("inspect", plan), *says)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "nul", "\ud800"])
def test_sidecars_that_are_no_documents(plan, text):
    plan.with_name("m.plan.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    one_paragraph(run("inspect", plan), "the sidecar", "is damaged", "natdeploy build-engine")


H100, A100 = Gpu("NVIDIA H100", "9.0", 132, "13.0"), Gpu("NVIDIA A100", "8.0", 108, "13.0")


@pytest.mark.parametrize(
    "changes, version, gpu, says",
    [
        ({}, "1.7.1.116", H100, []),
        ({}, None, H100, ["TensorRT for RTX is not installed: pip install 'natdeploy[tensorrt-rtx]'"]),
        ({}, "1.8.0.3", H100, ["it was built by TensorRT for RTX 1.7.1.116, and 1.8.0.3 is installed"]),
        ({}, "1.7.1.116", None, ["no NVIDIA GPU is visible"]),
        (
            {"platform": {"system": "Linux", "machine": "aarch64"}},
            "1.7.1.116",
            H100,
            ["it was built for Linux aarch64"],
        ),
        ({"gpu": vars(A100)}, "1.7.1.116", H100, ["it was built for NVIDIA A100, and this is NVIDIA H100"]),
        ({"gpu": vars(H100)}, "1.7.1.116", H100, []),
        ({"version": "1.6"}, "1.8", None, ["it was built by TensorRT for RTX 1.6, and 1.8 is", "no NVIDIA GPU"]),
    ],
)
def test_what_keeps_it_from_running_here(tmp_path, monkeypatch, changes, version, gpu, says):
    monkeypatch.setattr(backends.Backend, "installed_version", lambda self: version)
    monkeypatch.setattr(description, "visible_gpu", lambda: gpu)
    found = run("inspect", write_plan(tmp_path / "m.plan", **changes), "--json").json["against_running_here"]
    assert len(found) == len(says)
    assert all(part in reason for part, reason in zip(says, found, strict=True))


def test_version_compatible_plans_run_on_other_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(backends.Backend, "installed_version", lambda self: "1.9.9.9")
    monkeypatch.setattr(description, "visible_gpu", lambda: H100)
    options = {**engine(b"")["options"], "version_compatible": True}
    plan = write_plan(tmp_path / "m.plan", options=options)
    assert run("inspect", plan, "--json").json["against_running_here"] == []


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("with_sidecar", [True, False])
def test_with_tensorrt_it_says_what_the_engine_says(tmp_path, monkeypatch, backend, with_sidecar):
    machine = pretended_machine(monkeypatch, tmp_path)
    plan = write_runnable_plan(tmp_path / "m.plan", small_onnx(), backend)
    if not with_sidecar:
        plan.with_name("m.plan.json").unlink()
    assert run("inspect", plan, "--json").json["engine"] is None and machine.events == []
    found = run("inspect", plan, "--load", "--json").json["engine"]
    assert found["loaded_by"] == {"tensorrt": "tensorrt 10.15.1.29", "tensorrt-rtx": "tensorrt_rtx 1.7.1.116"}[backend]
    assert (found["layers"], found["device_memory_bytes"]) == (7, 3 << 20)
    assert found["inputs"] == [{"name": "pixel_values", "dtype": "float32", "shape": [-1, 1, 32, 32]}]
    assert found["outputs"][0] == {"name": "logits", "dtype": "float32", "shape": [-1, 10]}
    assert found["shapes"] == ["pixel_values 1x1x32x32 / 1x1x32x32 / 8x1x32x32"]
    assert re.search(r"device memory bytes +3\.0 MiB", run("inspect", plan, "--load").out)
    assert_used_well(machine)


def test_what_keeps_a_plan_from_being_loaded_is_told(tmp_path, monkeypatch):
    machine = pretended_machine(monkeypatch, tmp_path)
    refused = write_runnable_plan(tmp_path / "m.plan", small_onnx(), content={"says": "Error Code 1: no such thing"})
    one_paragraph(run("inspect", refused, "--load"), "could not load 'm.plan'", "no such thing")
    assert run("inspect", refused).status == 0
    machine.events.clear()
    carries = write_runnable_plan(tmp_path / "c.plan", small_onnx(), plugin={"embedded": True})
    one_paragraph(run("inspect", carries, "--load"), "it carries the plugin library, whose code would run")
    assert machine.events == []


def test_only_plans_can_be_loaded(plan):
    result = run("inspect", digits_onnx(), "--load")
    assert (result.status, "--load is for plans of TensorRT" in result.err) == (2, True)
    one_paragraph(run("inspect", plan, "--load"), "no NVIDIA GPU is visible")
