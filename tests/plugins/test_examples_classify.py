"""plugins/examples/classify.cpp from plan and images to guesses, on a pretended TensorRT and CUDA of host memory."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from command_line import IMAGES
from plugins.example_world import CLASSES, HEIGHT, RECIPE, WIDTH, agree, guesses_of, make_world, metadata, weights
from plugins.pretended_gpu import TENSORRT_RTX, program, write_plan
from plugins.trt_build import attempt


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    write_plan(folder / "model.plan", metadata(), weights())
    (folder / "libnatdeploy_trt.so").touch()
    return make_world(folder)


@pytest.fixture(scope="module")
def classify(tmp_path_factory):
    return program(tmp_path_factory.mktemp("program"))


def run(classify, world, plan="model.plan", *more, **environment):
    plugin = ("--plugin", world.folder / "libnatdeploy_trt.so")
    return attempt(classify, world.folder / plan, *plugin, *world.images, "--repeat", "3", *more, **environment)


@pytest.mark.parametrize("batch, runs", [((1, 2), 2), ((1, 8), 5), ((3, 3), 3), ((2, 4), 4)])
def test_guesses_are_those_of_natdeploy(classify, world, batch, runs):
    """In one batch or several, the last of which is not full, and with a batch that the plan fixes."""
    write_plan(world.folder / "other.plan", metadata(), weights(), batch)
    done = run(classify, world, "other.plan")
    assert (done.returncode, done.stderr) == (0, "")
    found, latency = guesses_of(done.stdout)
    assert agree(found, world.expected)
    assert re.fullmatch(
        rf"latency \d+\.\d{{3}} ms, 95 % below \d+\.\d{{3}} ms: 3 runs of batch {runs} by the CPU's clock, copies .*",
        latency,
    )


EAGER = "DynamicShapesKernelSpecializationStrategy::kEAGER"


@pytest.mark.slow  # the sources once more with other headers
def test_tensorrt_for_rtx_is_asked_for_its_final_kernels(world, tmp_path):
    """By default, it would record kernels that fit any shape."""
    write_plan(world.folder / "rtx.plan", metadata(), weights(), flavour=TENSORRT_RTX)
    done = run(program(tmp_path, flavour=TENSORRT_RTX), world, "rtx.plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert agree(guesses_of(done.stdout)[0], world.expected)
    lazy = [("classify.cpp", EAGER, EAGER.replace("kEAGER", "kLAZY"))]
    assert_told(
        run(program(tmp_path, lazy, TENSORRT_RTX), world, "rtx.plan"), "kernels that fit any shape are recorded"
    )


def test_pixels_go_in_as_they_are_where_the_file_normalises(classify, world):
    """uint8-nhwc: the network here normalises by its weights, and what it cannot is taken from the logits."""
    deviation, mean = (np.array(RECIPE[name], np.float64)[:, None, None] for name in ("std", "mean"))
    matrix = weights() / (255 * deviation)
    shift = (255 * matrix * mean).sum((1, 2, 3))
    plan = {**metadata(), "preprocessing": {**RECIPE, "input_format": "uint8-nhwc"}}
    write_plan(world.folder / "uint8.plan", plan, np.moveaxis(matrix, 1, -1).astype(np.float32))
    done = run(classify, world, "uint8.plan", "--top", str(CLASSES))
    assert (done.returncode, done.stderr) == (0, "")
    for guesses, wanted in zip(guesses_of(done.stdout)[0], world.expected, strict=True):
        indices = [index for index, _ in guesses]
        logits = np.log([probability for _, probability in guesses]) - shift[indices]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        order = np.argsort(-probabilities)[:5]
        assert [indices[i] for i in order] == [index for index, _ in wanted]
        assert np.allclose(probabilities[order], [p for _, p in wanted], rtol=0, atol=1e-3)


EACH_PICTURE = "    for (size_t i = 0; i < batches.batch; ++i) {\n"
FAULTS = {
    "images copied after the launch": [
        ("application.cpp", "    batches.run();\n", ""),
        ("application.cpp", EACH_PICTURE, f"    batches.run();\n{EACH_PICTURE}"),
    ],
    "graph without the copy of the images": [
        ("classify.cpp", "[this] { enqueue(); });", "[this] { recorded_ = true; enqueue(); });"),
        ("classify.cpp", "    check(cudaMemcpyAsync(pictures,", "    if (!recorded_) check(cudaMemcpyAsync(pictures,"),
        ("classify.cpp", "  size_t batch_ = 0;\n", "  size_t batch_ = 0;\n  bool recorded_ = false;\n"),
    ],
    "results from another address": [("classify.cpp", "on_gpu_.at(kOutput).get()", 'on_gpu_.at("pooled").get()')],
    "channels swapped": [("preprocessing.cpp", "values[c * plane + i]", "values[(channels - 1 - c) * plane + i]")],
    "results read before they are there": [
        ("classify.cpp", "    graph_->launch(stream_);\n    stream_.wait();\n", "    graph_->launch(stream_);\n"),
    ],
    "logger destroyed": [
        (
            "classify.cpp",
            "Logger& logger() {\n  static auto* const instance = new Logger;\n",
            "Logger* instance = nullptr;\nLogger& logger() {\n",
        ),
        (
            "classify.cpp",
            "  const Plan plan = plan_from_file(",
            "  Logger mine;\n  instance = &mine;\n  const Plan plan = plan_from_file(",
        ),
    ],
    "first run recorded": [("classify.cpp", "    enqueue();\n    stream_.wait();\n", "")],
    "an image left out after each batch": [
        ("application.cpp", "first += batches.batch)", "first += batches.batch + (batches.batch > 1))")
    ],
}


@pytest.mark.slow  # 3 s each, most of it for the compiler
@pytest.mark.parametrize("changes", FAULTS.values(), ids=FAULTS)
def test_faults_are_seen(world, tmp_path, changes):
    done = run(program(tmp_path, changes), world)
    assert done.returncode != 0 or not agree(guesses_of(done.stdout)[0], world.expected)


def with_engine(**changes):
    return lambda part: part.update(changes)


def embedded(part):
    part["plugin"].update(embedded=True)


L40 = {"name": "NVIDIA L40", "compute_capability": "8.9", "multiprocessors": 142, "driver": "13.0"}

# What the engine part of the sidecar says, and what the user is told.
BAD_SIDECARS = {
    "other size": (with_engine(plan={"sha256": "0" * 64, "bytes": 7}), "and its sidecar says 7: copy both from where"),
    "dry run": (with_engine(plan=None), "engine.plan is null, as after a dry run"),
    "newer": (with_engine(schema=2), "is of version 2, and this program reads version 1"),
    "other TensorRT": (
        with_engine(backend="tensorrt-rtx"),
        "is a plan of TensorRT for RTX, and this program is linked with TensorRT",
    ),
    "other version": (with_engine(version="11.3.0.1"), "was built by TensorRT 11.3.0.1, and 11.4.0.106 is here"),
    "other machine": (with_engine(platform={"system": "Linux", "machine": "sparc"}), "was built for sparc"),
    "other GPU": (with_engine(gpu=L40), "was built for NVIDIA L40, of compute capability 8.9, and this GPU has 9.0"),
    "no options": (lambda part: part.pop("options"), "engine.options is missing"),
    "embedded is a word": (lambda part: part["plugin"].update(embedded="no"), "embedded is neither true nor false"),
}


@pytest.mark.parametrize("edit, part", BAD_SIDECARS.values(), ids=BAD_SIDECARS)
def test_sidecars_that_do_not_fit(classify, world, edit, part):
    write_plan(world.folder / "bad.plan", metadata(), weights(), edit=edit)
    assert_told(run(classify, world, "bad.plan"), part)


def test_plans_of_another_version_and_gpu_run_where_they_are_made_to(classify, world):
    def compatible(part):
        part.update(version="11.3.0.1", gpu=L40)
        part["options"].update(version_compatible=True, hardware_compatibility="AMPERE_PLUS")

    write_plan(world.folder / "compatible.plan", metadata(), weights(), edit=compatible)
    assert_told(run(classify, world, "compatible.plan"), "if you trust where it comes from, add --allow-host-code")
    done = run(classify, world, "compatible.plan", "--allow-host-code")
    assert agree(guesses_of(done.stdout)[0], world.expected)


def test_code_in_a_plan_has_to_be_allowed(classify, world):
    """Whatever the sidecar says of it; kernels, which are ELF files too, are for another machine."""
    carrying = write_plan(world.folder / "carrying.plan", metadata(), weights(), edit=embedded, needs_plugin=2)
    assert_told(attempt(classify, carrying, world.images[0]), "carrying.plan' carries a plugin library or a TensorRT")
    done = attempt(classify, carrying, world.images[0], "--allow-host-code")
    assert agree(guesses_of(done.stdout)[0], world.expected[:1])
    for machine, status in {62: 1, 183: 1, 190: 0}.items():
        hidden = weights().copy()
        hidden.view(np.uint8).reshape(-1)[-40:-20] = [*b"\x7fELF", *bytes(12), 3, 0, machine, 0]
        write_plan(world.folder / "hidden.plan", metadata(), hidden)
        done = run(classify, world, "hidden.plan")
        assert done.returncode == status, done.stderr
        assert ("--allow-host-code" in done.stderr) == bool(status)


def test_the_build_number_of_tensorrt_may_be_unsaid(classify, world):
    """Python packages of some releases tell three numbers."""
    write_plan(world.folder / "short.plan", metadata(), weights(), edit=with_engine(version="11.4.0"))
    assert agree(guesses_of(run(classify, world, "short.plan").stdout)[0], world.expected)
    write_plan(world.folder / "short.plan", metadata(), weights(), edit=with_engine(version="11.4"))
    assert_told(run(classify, world, "short.plan"), "was built by TensorRT 11.4, and 11.4.0.106 is here")


def test_what_is_missing_is_named(classify, world):
    folder = world.folder
    assert_told(run(classify, world, "none.plan"), "none.plan' cannot be read: No such file or directory")
    (folder / "alone.plan").write_bytes((folder / "model.plan").read_bytes())
    assert_told(run(classify, world, "alone.plan"), "There is no sidecar '")
    (folder / "alone.plan.json").write_text((folder / "model.plan.json").read_text("utf-8").replace('"engine"', '"e"'))
    assert_told(run(classify, world, "alone.plan"), "engine is missing")
    image = world.images[0]
    assert_told(attempt(classify, folder / "model.plan", image), "name it with --plugin libnatdeploy_trt.so, or with")
    gone = ("--plugin", folder / "gone.so")
    assert_told(attempt(classify, folder / "model.plan", image, *gone), "gone.so' cannot be read: No such file")
    assert_told(run(classify, world, "model.plan", folder / "none.ppm"), "none.ppm' cannot be read")


def test_without_libpng_png_is_refused(classify, world):
    """The build for the pretended GPU has none."""
    assert_told(run(classify, world, "model.plan", IMAGES[0]), "was built without PNG: install libpng-dev and build it")


def test_the_plugin_may_be_named_by_the_environment_or_not_needed(classify, world):
    plugin, image = world.folder / "libnatdeploy_trt.so", world.images[0]
    done = attempt(classify, world.folder / "model.plan", image, NATDEPLOY_PLUGIN_LIBRARY=str(plugin))
    assert agree(guesses_of(done.stdout)[0], world.expected[:1])
    plan = write_plan(
        world.folder / "portable.plan", metadata(), weights(), edit=with_engine(plugin=None), needs_plugin=0
    )
    assert agree(guesses_of(attempt(classify, plan, image).stdout)[0], world.expected[:1])


def test_what_the_machine_lacks_is_said(classify, world):
    assert_told(run(classify, world, PRETENDED_GPUS="0"), "No NVIDIA GPU can be used here: no CUDA-capable device")
    assert_told(run(classify, world, PRETENDED_MEMORY="1000"), "CUDA cannot allocate memory on the GPU: out of memory")
    told = "was compiled for TensorRT 11, and the library that it found is 10.4.0.106: compile it with the headers"
    assert_told(run(classify, world, PRETENDED_MAJOR="10"), told)


def test_what_tensorrt_refuses_is_told_in_its_words(classify, world):
    folder, image = world.folder, world.images[0]
    (folder / "foreign.so").touch()
    done = attempt(classify, folder / "model.plan", image, "--plugin", folder / "foreign.so")
    assert_told(done, "foreign.so': getCreators is missing in the library.")
    plan = write_plan(folder / "damaged.plan", metadata(), weights())
    plan.write_bytes(b"x" + plan.read_bytes()[1:])
    assert_told(run(classify, world, "damaged.plan"), "TensorRT cannot load the plan: the plan is damaged.")
    other = {**metadata(), "preprocessing": {**RECIPE, "crop_size": [HEIGHT + 1, WIDTH]}}
    write_plan(folder / "shape.plan", other, weights())
    told = "The plan does not take images of 25x40: the shape is outside the profile."
    assert_told(run(classify, world, "shape.plan"), told)
    write_plan(folder / "type.plan", metadata(), weights())
    document = json.loads((folder / "type.plan.json").read_text("utf-8"))
    document["preprocessing"] = {**RECIPE, "input_format": "uint8-nhwc"}
    (folder / "type.plan.json").write_text(json.dumps(document), "utf-8")
    assert_told(run(classify, world, "type.plan"), "no input 'pixel_values' of the type that its sidecar says")
    empty = write_plan(folder / "empty.plan", metadata(), weights(), (0, 0))
    assert_told(attempt(classify, empty, image, "--plugin", folder / "libnatdeploy_trt.so"), "its batch is 0")
    write_plan(folder / "infinite.plan", metadata(), np.full_like(weights(), np.inf))
    assert_told(run(classify, world, "infinite.plan"), "The model gives no usable logits")


def assert_told(done, part):
    """Assert that a program ended as a user may expect: one sentence on stderr, status 1."""
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.endswith(".\n"), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert part in done.stderr


@pytest.mark.parametrize(
    "words, part",
    [
        ([], "An artifact and at least one image are needed."),
        (["model.plan"], "An artifact and at least one image are needed."),
        (["model.plan", "a.ppm", "--top"], "--top needs a value."),
        (["model.plan", "a.ppm", "--top", "0"], "--top is '0': it must be a number from 1 to 1000000."),
        (["model.plan", "a.ppm", "--repeat", "many"], "--repeat is 'many'"),
        (["model.plan", "a.ppm", "--fast"], "There is no option --fast."),
    ],
)
def test_wrong_command_lines_have_a_status_of_their_own(classify, words, part):
    done = attempt(classify, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert part in done.stderr
    assert "usage: classify MODEL.plan" in done.stderr


def test_labels_cannot_command_the_terminal(classify, world):
    labels = [f"a\x1b[2J\x9b2J\nzebra é {number}" for number in range(CLASSES)]
    write_plan(world.folder / "labels.plan", {**metadata(), "labels": labels}, weights())
    done = run(classify, world, "labels.plan")
    assert agree(guesses_of(done.stdout)[0], world.expected)
    assert re.findall(r"  (a.*)", done.stdout)[0].startswith("a [2J  2J zebra é ")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout)


def test_help(classify):
    done = attempt(classify, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: classify MODEL.plan [--plugin libnatdeploy_trt.so] IMAGE...")
