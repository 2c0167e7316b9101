"""Bad input: one paragraph that names the fix, status 1, and nothing left behind."""

import json
import pickle
import resource
import shutil
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from command_line import (
    DATA,
    DIGITS,
    IMAGES,
    digits_onnx,
    dynamic_onnx,
    edit_metadata,
    edit_weight,
    edited,
    one_paragraph,
    plugin_onnx,
    run,
    run_process,
    two_outputs_onnx,
)
from PIL import Image
from safetensors.torch import load_file, save_file

GOLDEN = DATA / "golden"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory that must look the same afterwards, with a target that must not be touched."""
    (tmp_path / "out.onnx").write_bytes(b"what was there before")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def contents(directory):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(directory.rglob("*"))}


def fails(place, *arguments, says=()):
    """Run a command that must fail, in one paragraph, and leave everything as it was."""
    before = contents(place)
    one_paragraph(run(*arguments), *says)
    assert contents(place) == before


class Evil:
    def __reduce__(self):
        return (open, ("ran.txt", "w"))


def nothing(directory):
    return directory / "missing"


def missing_file(directory):
    return directory / "weights.pth"


def without_config(directory):
    shutil.copytree(DIGITS, directory / "checkpoint", ignore=shutil.ignore_patterns("config.json", "images"))
    return directory / "checkpoint"


def digits_copy(directory):
    shutil.copytree(DIGITS, directory / "checkpoint", ignore=shutil.ignore_patterns("images"))
    return directory / "checkpoint"


def truncated(directory):
    weights = digits_copy(directory) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return weights.parent


def evil_pickle(directory):
    path = directory / "weights.pth"
    with path.open("wb") as file:
        pickle.dump({"state_dict": Evil()}, file, protocol=2)
    return path


def text_file(directory):
    path = directory / "weights.pth"
    path.write_text("no weights at all")
    return path


def swin(directory):
    path = directory / "swin.pth"
    names = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table", "head.weight")
    torch.save({"model": {name: torch.zeros(3, 3) for name in names}}, path)
    return path


def swin_config(directory):
    checkpoint = digits_copy(directory)
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "swin"}))
    return checkpoint


def edited_config(**changes):
    def make(directory):
        path = digits_copy(directory) / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return path.parent

    return make


def edited_weights(change):
    def make(directory):
        path = digits_copy(directory) / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})
        return path.parent

    return make


@pytest.mark.parametrize(
    "make, says",
    [
        (nothing, ["there is no checkpoint", "a Hugging Face directory"]),
        (missing_file, ["there is no checkpoint", "weights.pth"]),
        (without_config, ["there is no config.json"]),
        (truncated, ["cannot read", "model.safetensors", "download it again"]),
        (evil_pickle, ["could run code", "save its state dict with safetensors"]),
        (text_file, ["weights.pth", "no PyTorch checkpoint"]),
        (swin, ["is a Swin Transformer checkpoint", "NAT, DiNAT"]),
        (swin_config, ["model_type 'swin'", "model_type nat or dinat"]),
        (edited_config(num_heads=[3, 2, 4]), ["32 channels are not divisible by 3 heads"]),
        (edited_config(depths=[2, 3, 1]), ["stage 2 has 3 blocks"]),
        (edited_config(kernel_size=5), ["wrong shape", "rpb"]),
        (edited_config(hidden_act="step"), ["hidden_act", "gelu"]),
        (edited_config(embed_dim="wide"), ["embed_dim is 'wide'"]),
        (edited_weights(lambda t: t["classifier.bias"].__setitem__(0, float("nan"))), ["NaN or infinite", "head.bias"]),
        (edited_weights(lambda t: t.pop("classifier.bias")), ["1 missing: head.bias"]),
        (edited_weights(lambda t: t.update(more=torch.zeros(1))), ["1 unexpected: more"]),
    ],
    ids=lambda value: getattr(value, "__name__", "") or " ".join(value)[:40],
)
def test_checkpoints(place, make, says):
    checkpoint = make(place)
    fails(place, "export", checkpoint, "-o", "out.onnx", says=says)
    fails(place, "verify", two_outputs_onnx(), "--checkpoint", checkpoint, says=says)
    fails(place, "inspect", checkpoint, says=says)


def test_a_checkpoint_whose_name_is_too_long(place):
    fails(place, "inspect", "n" * 300, says=["File name too long"])


def test_a_hub_id_that_is_not_in_the_cache(place):
    fails(place, "export", "nobody/nothing", "-o", "out.onnx", says=["nobody/nothing", "Check the name"])


@pytest.mark.parametrize(
    "settings, says",
    [
        (["--image-size", "31"], ["image size 31x31 is below 32 pixels"]),
        (["--image-size", "64x16"], ["image size 64x16 is below 32 pixels"]),
        (["--image-size", "16385"], ["beyond 16384 pixels"]),
        (["--image-size", "9999999999"], ["beyond 16384 pixels"]),
        (["--image-size", "16384"], ["16384x16384 could not run", "GiB", "--image-size or --batch"]),
        (["--batch", "100000000000"], ["32x32, batch 100000000000 could not run", "GiB"]),
        (["--batch", "100000000000", "--form", "plugin"], ["could not run", "GiB"]),
        (["--dynamic-size", "16:64"], ["is below 32 pixels"]),
        (["--dynamic-size", "64:99999"], ["is beyond 16384 pixels"]),
        (["--outputs", "logits,probabilities"], ["'probabilities' is no output", "reshaped_hidden_states.0"]),
        (["--outputs", "feature_maps.stage1"], ["no norm for it", "reshaped_hidden_states.N"]),
        (["--outputs", "reshaped_hidden_states.0,hidden_states.0"], ["before the first attention layer", "--outputs"]),
        (["--outputs", "logits,pooled,logits"], ["'logits' is asked for twice"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_settings(place, settings, says, monkeypatch):
    monkeypatch.setattr("natdeploy.onnx_files.settings.memory_of_this_machine", lambda: 8 * 2**30)
    fails(place, "export", DIGITS, "-o", "out.onnx", *settings, says=says)


@pytest.mark.parametrize("settings", [["--dynamic-size", "64:128"], ["--image-size", "64x96"]], ids=" ".join)
def test_isotropic_models_have_a_fixed_map(place, settings):
    says = ["fixed map of 8x8 patches", "64x64"]
    fails(place, "export", GOLDEN / "shi_isotropic", "-o", "out.onnx", *settings, says=says)


@pytest.mark.parametrize(
    "target, says",
    [
        ("nowhere/out.onnx", ["no directory 'nowhere'"]),
        ("file/out.onnx", ["'file', which is no directory"]),
        ("directory.onnx", ["a directory of that name"]),
        ("/proc/out.onnx", ["cannot write '/proc/out.onnx'"]),
        ("model.pth", ["does not end in .onnx"]),
        ("model", ["does not end in .onnx"]),
        (f"{'n' * 300}.onnx", ["File name too long"]),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_targets(place, target, says):
    (place / "file").write_text("")
    (place / "directory.onnx").mkdir()
    fails(place, "export", DIGITS, "-o", target, says=says)
    fails(place, "lower", digits_onnx(), "-o", target, says=says)
    recording = target.replace(".onnx", ".npz")
    if target == "directory.onnx":
        (place / "directory.npz").mkdir()
    says = [part.replace(".onnx", ".npz") for part in says]
    fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--save-reference", recording, says=says)


def limit_files_to_100_kilobytes():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize("more", [[], ["--external-data"]], ids=["one file", "external data"])
def test_a_file_that_may_not_grow(place, more):
    before = contents(place)
    result = run_process("lower", digits_onnx(), "-o", "out.onnx", *more, preexec_fn=limit_files_to_100_kilobytes)
    one_paragraph(result, "cannot write 'out.onnx'", "File too large")
    assert contents(place) == before


@pytest.mark.parametrize("name", ["out.onnx", "reference.npz"])
def test_a_full_disk(place, name, monkeypatch):
    def onto_a_full_disk(prefix, dir):
        directory = place / f"{prefix}x"
        directory.mkdir()
        (directory / name).symlink_to("/dev/full")
        return str(directory)

    recording = place / "r.npz"
    run("verify", digits_onnx(), "--checkpoint", DIGITS, "--save-reference", recording)
    monkeypatch.setattr("natdeploy.onnx_files.files.tempfile", SimpleNamespace(mkdtemp=onto_a_full_disk))
    says = ["No space left on device", "Free some space or choose another place"]
    if name == "reference.npz":
        fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--save-reference", recording, says=says)
    else:
        fails(place, "lower", digits_onnx(), "-o", "out.onnx", says=says)


def not_there(place):
    return place / "missing.onnx"


def text_onnx(place):
    path = place / "text.onnx"
    path.write_text("This is no protobuf.")
    return path


def empty_onnx(place):
    path = place / "empty.onnx"
    path.write_bytes(b"")
    return path


def directory_onnx(place):
    path = place / "directory.onnx"
    path.mkdir()
    return path


def truncated_onnx(place):
    path = place / "cut.onnx"
    path.write_bytes(digits_onnx().read_bytes()[:-5000])
    return path


def onnx_of_others(place):
    node = onnx.helper.make_node("Relu", ["pixel_values"], ["logits"])
    values = [onnx.helper.make_tensor_value_info(name, 1, [2, 3]) for name in ("pixel_values", "logits")]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), place / "relu.onnx")
    return place / "relu.onnx"


@pytest.mark.parametrize(
    "make, says",
    [
        (not_there, ["there is no ONNX file"]),
        (text_onnx, ["text.onnx"]),
        (empty_onnx, ["empty.onnx", "without a graph"]),
        (directory_onnx, ["cannot read", "directory"]),
        (truncated_onnx, ["cannot read", "Export it again"]),
        (onnx_of_others, ["relu.onnx"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_onnx_files_that_are_none_of_ours(place, make, says):
    path = make(place)
    fails(place, "verify", path, "--checkpoint", DIGITS, says=says)
    fails(place, "infer", path, IMAGES[0], says=says)
    fails(place, "lower", path, "-o", "out.onnx", says=says)
    fails(place, "inspect", path, says=says)
    fails(place, "inspect", path, "--probes", says=says)


def test_other_suffixes_cannot_be_run(place):
    (place / "model.plan").write_bytes(b"")
    fails(place, "infer", "model.plan", IMAGES[0], says=["ends in '.plan'", ".onnx"])
    fails(place, "verify", "model", "--checkpoint", DIGITS, says=["a file without suffix"])


def test_the_plugin_form_cannot_run_here(place):
    says = ["is of the plugin form", f"natdeploy lower {plugin_onnx()} -o portable.onnx --form portable"]
    fails(place, "verify", plugin_onnx(), "--checkpoint", DIGITS, says=says)
    fails(place, "infer", plugin_onnx(), IMAGES[0], says=says)


def attributes(**changes):
    """Change attributes of the first node of our op."""

    def change(model):
        node = next(node for node in model.graph.node if node.domain == "natdeploy")
        for name, value in changes.items():
            kept = [attribute for attribute in node.attribute if attribute.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, *([onnx.helper.make_attribute(name, value)] if value is not None else [])])

    return change


def other_op(model):
    next(node for node in model.graph.node if node.domain == "natdeploy").op_type = "GlobalAttention"


def newer_op(model):
    next(opset for opset in model.opset_import if opset.domain == "natdeploy").version = 2


def no_inputs(model):
    del next(node for node in model.graph.node if node.domain == "natdeploy").input[:]


def other_table(model):
    edit_weight(model, "stages.0.blocks.0.attention.rpb", lambda array: None)
    (weight,) = (w for w in model.graph.initializer if w.name == "stages.0.blocks.0.attention.rpb")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros((1, 3, 3), np.float32), weight.name))


def qkv_shape(*shape):
    def change(model):
        node = next(node for node in model.graph.node if node.domain == "natdeploy")
        (value,) = (value for value in model.graph.value_info if value.name == node.input[0])
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, 1, shape))

    return change


@pytest.mark.parametrize(
    "change, says",
    [
        (attributes(kernel_size=[0, 3]), "must be positive"),
        (attributes(kernel_size=[3, -3]), "must be positive"),
        (attributes(kernel_size=[2**40, 3]), "kernel_size"),
        (attributes(kernel_size=[9, 3]), "exceeds the map's extent"),
        (attributes(kernel_size=[3]), "axes"),
        (attributes(kernel_size=[3] * 99), "1 to 3 are supported"),
        (attributes(kernel_size=3), "is INT, not INTS"),
        (attributes(kernel_size=None), "kernel_size is missing"),
        (attributes(dilation=[0, 1]), "must be positive"),
        (attributes(dilation=[2**62, 2**62]), "beyond 2147483647"),
        (attributes(stride=[1, 9]), "stride"),
        (attributes(num_heads=0), "num_heads is 0"),
        (attributes(num_heads=-1), "num_heads is -1"),
        (attributes(num_heads=2**50), "beyond 2147483647"),
        (attributes(num_heads=5), "not divisible into query, key and value of 5 heads"),
        (attributes(num_heads=2), "'stages.0.blocks.0.attention.rpb' is [1, 5, 5], not [2, 5, 5]"),
        (attributes(scale=float("nan")), "not finite"),
        (attributes(scale=float("inf")), "not finite"),
        (other_op, "no op natdeploy::GlobalAttention"),
        (newer_op, "version 2 of the natdeploy operator"),
        (no_inputs, "0 inputs"),
        (other_table, "is [1, 3, 3], not [1, 5, 5]"),
        (qkv_shape("batch", 8, 96), "has 3 dimensions, not 4"),
        (qkv_shape(), "has 0 dimensions, not 4"),
        (qkv_shape("batch", 2**31, 8, 96), "beyond 16384"),
    ],
)
def test_hostile_nodes_are_refused_before_anything_runs(place, change, says):
    path = edited(digits_onnx(), place / "hostile.onnx", change)
    fails(place, "infer", path, IMAGES[0], says=["hostile.onnx", says])
    fails(place, "lower", path, "-o", "out.onnx", says=[says])
    fails(place, "inspect", path, says=[says])


def test_tables_beyond_memory(place):
    path = edited(digits_onnx(), place / "wide.onnx", qkv_shape("batch", 16384, 16384, 96))
    says = ["a map of 268435456 tokens", "smaller images"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("natdeploy.onnx_files.lower.memory_of_this_machine", lambda: 2**30)
        fails(place, "lower", path, "-o", "out.onnx", says=says)


def text_of_metadata(text):
    def change(model):
        (entry,) = (entry for entry in model.metadata_props if entry.key == "natdeploy")
        entry.value = text

    return change


def metadata(*path_and_value):
    """Change one field of the metadata document."""
    *path, last, value = path_and_value

    def change(document):
        for name in path:
            document = document[name]
        document[last] = value

    return lambda model: edit_metadata(model, change)


@pytest.mark.parametrize(
    "change, says",
    [
        (text_of_metadata(""), "damaged"),
        (text_of_metadata("[" * 100_000), "damaged"),
        (text_of_metadata("{}"), "damaged"),
        (text_of_metadata("[1, 2]"), "damaged"),
        (text_of_metadata("9" * 10_000), "damaged"),
        (metadata("schema", 2), "Update natdeploy"),
        (metadata("sizes", "height", [1, 10**30]), "sizes.height.1"),
        (metadata("sizes", "height", [64, 32]), "sizes from"),
        (metadata("sizes", "batch", 0), "sizes.batch"),
        (metadata("sizes", "batch", 2.0), "sizes.batch"),
        (metadata("preprocessing", "crop_size", [10**9, 10**9]), "preprocessing.crop_size"),
        (metadata("preprocessing", "crop_size", [32.0, 32]), "preprocessing.crop_size"),
        (metadata("preprocessing", "crop_size", [True, True]), "preprocessing.crop_size"),
        (metadata("preprocessing", "interpolation", "magic"), "preprocessing.interpolation"),
        (metadata("preprocessing", "value_range", float("inf")), "Infinity is no JSON"),
        (metadata("preprocessing", "mean", [0.5, 0.5, 0.5]), "3 means"),
        (metadata("preprocessing", "std", [0.0]), "not positive"),
        (metadata("preprocessing", "channel_order", "RGB"), "channel_order RGB for 1 channels"),
        (metadata("config", "num_heads", ["1", "2", "4"]), "config.num_heads.0"),
        (metadata("config", "num_heads", [5, 2, 4]), "not divisible by 5 heads"),
        (metadata("config", "depths", [2, 2]), "stages"),
        (metadata("config", "embed_dim", 10**400), "config.embed_dim"),
        (metadata("labels", ["zero"]), "1 labels for 10 classes"),
        (metadata("labels", {"0": "zero"}), "labels"),
        (metadata("outputs", []), "outputs"),
        (metadata("form", "engine"), "form"),
        (metadata("checkpoint", "sha256", "0"), "checkpoint.sha256"),
    ],
)
def test_damaged_metadata(place, change, says):
    path = edited(digits_onnx(), place / "damaged.onnx", change)
    fails(place, "infer", path, IMAGES[0], says=["damaged.onnx", says])
    fails(place, "verify", path, "--checkpoint", DIGITS, says=[says])
    fails(place, "lower", path, "-o", "out.onnx", says=[says])
    fails(place, "inspect", path, says=[says])


@pytest.fixture
def external(place):
    """A file with external data."""
    assert run("lower", digits_onnx(), "-o", place / "e.onnx", "--form", "hybrid", "--external-data").status == 0
    return place / "e.onnx"


def location(value):
    def change(model):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
        for entry in tensor.external_data:
            entry.value = value.get(entry.key, entry.value)

    return change


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"location": "../secret"}, "'../secret' lies outside the model's directory"),
        ({"location": "/etc/passwd"}, "'/etc/passwd' lies outside the model's directory"),
        ({"location": ""}, "'' lies outside the model's directory"),
        ({"location": "other.data"}, "'other.data' is missing"),
        ({"location": "."}, "'.' is missing"),
        ({"offset": "-8"}, "no usable offset"),
        ({"offset": "9" * 30}, "no usable offset"),
        ({"length": "99999999999"}, "cut off"),
    ],
    ids=str,
)
def test_external_data_elsewhere(place, external, fields, says):
    model = onnx.load(external, load_external_data=False)
    location(fields)(model)
    onnx.save(model, place / "hostile.onnx")
    for arguments in (["infer", IMAGES[0]], ["inspect"], ["lower", "-o", "out.onnx"], ["verify", "--against", "a.npz"]):
        fails(
            place,
            arguments[0],
            "hostile.onnx",
            *arguments[1:],
            says=[says, "Copy the .data file"][: 1 + (says[0] == "'")],
        )


def test_external_data_that_is_missing_or_cut_off(place, external):
    data = place / "e.onnx.data"
    data.write_bytes(data.read_bytes()[:-100])
    fails(place, "infer", external, IMAGES[0], says=["'e.onnx.data' is cut off", "Copy the .data file"])
    data.unlink()
    fails(place, "verify", external, "--checkpoint", DIGITS, says=["'e.onnx.data' is missing"])


def npz(place, **arrays):
    np.savez(place / "in.npz", **arrays)
    return place / "in.npz"


def pixels(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


@pytest.mark.parametrize(
    "arrays, says",
    [
        ({"pixel_values": pixels(1, 1, 39, 40)}, "40 to 72"),
        ({"pixel_values": pixels(3, 1, 39, 40)}, "does not accept images of 39x40"),
        ({"pixel_values": pixels(3, 1, 40, 73)}, "does not accept images of 40x73"),
        ({"pixel_values": pixels(2, 1, 40, 40)}, "'pixel_values' is 2x1x40x40, the model takes 3x1xheightxwidth"),
        ({"pixel_values": pixels(3, 3, 40, 40)}, "'pixel_values' is 3x3x40x40"),
        ({"pixel_values": pixels(3, 40, 40)}, "float32 [3, 40, 40]"),
        ({"pixel_values": pixels(0, 1, 40, 40)}, "no pixels"),
        ({"pixel_values": pixels(3, 1, 40, 40, dtype=np.uint8)}, "uint8"),
        ({"pixel_values": pixels(3, 1, 40, 40) * np.nan}, "NaN or infinity"),
        ({"pixel_values": pixels(3, 1, 40, 40) * np.inf}, "NaN or infinity"),
        ({"pixel_values": np.array([Evil()], object)}, "Object arrays cannot be loaded"),
        ({"pixel_values": np.array("text")}, "are no images"),
        ({"images": pixels(3, 1, 40, 40)}, "has no array 'pixel_values'"),
        ({}, "no arrays at all"),
    ],
    ids=range(14),
)
def test_inputs_that_the_file_does_not_take(place, arrays, says):
    path = npz(place, **arrays)
    if says == "40 to 72":
        says = "'pixel_values' is 1x1x39x40"
    fails(place, "verify", dynamic_onnx(), "--checkpoint", DIGITS, "--inputs", path, says=[says])
    assert not (place / "ran.txt").exists()


def damaged_zip(place):
    path = npz(place, pixel_values=pixels(3, 1, 40, 40))
    content = bytearray(path.read_bytes())
    content[200:4000] = b"\xff" * 3800
    path.write_bytes(content)
    return path


def text_npz(place):
    (place / "in.npz").write_text("no zip")
    return place / "in.npz"


def plain_npy(place):
    np.save(place / "in.npy", pixels(3, 1, 40, 40))
    return (place / "in.npy").rename(place / "in.npz")


def pickled(place):
    (place / "in.npz").write_bytes(pickle.dumps(Evil()))
    return place / "in.npz"


def damaged_deflate(place):
    np.savez_compressed(place / "in.npz", pixel_values=np.random.default_rng(0).random((3, 1, 40, 40), np.float32))
    content = bytearray((place / "in.npz").read_bytes())
    content[300:400] = bytes(100)
    (place / "in.npz").write_bytes(content)
    return place / "in.npz"


@pytest.mark.parametrize("make", [nothing, damaged_zip, damaged_deflate, text_npz, plain_npy, pickled])
@pytest.mark.parametrize("option", ["--inputs", "--against"])
def test_damaged_npz(place, make, option):
    path = make(place)
    checkpoint = ["--checkpoint", DIGITS] if option == "--inputs" else []
    says = ["there is no file" if make is nothing else "as an .npz file"]
    fails(place, "verify", dynamic_onnx(), *checkpoint, option, path, says=says)
    assert not (place / "ran.txt").exists()


def test_a_recording_of_other_outputs(place):
    path = npz(place, pixel_values=pixels(3, 1, 40, 40), logits=np.zeros((3, 10)), pooled=np.array("text"))
    fails(
        place, "verify", two_outputs_onnx(), "--against", path, says=["Got: logits. Needed: pooled", "--save-reference"]
    )
    path = npz(place, pixel_values=pixels(3, 1, 40, 40))
    fails(place, "verify", digits_onnx(), "--against", path, says=["no outputs", "Needed: logits"])


@pytest.mark.parametrize("about", ["", "[]", '{"name": 1, "environment": 3, "checkpoint_sha256": []}', "[" * 9999])
def test_what_a_recording_says_of_itself_is_not_trusted(place, about):
    arrays = {"pixel_values": pixels(2, 1, 40, 32), "logits": np.zeros((2, 10)), "pooled": np.zeros((2, 1))}
    path = npz(place, **{"natdeploy.reference": np.array(about)}, **arrays)
    result = run("verify", two_outputs_onnx(), "--against", path)
    assert result.status == 3
    assert "DISAGREES: pooled: shape" in result.out


def text_image(place):
    (place / "image.png").write_text("no image")
    return place / "image.png"


def cut_image(place):
    Image.effect_noise((64, 48), 50).save(place / "image.png")
    content = (place / "image.png").read_bytes()
    (place / "image.png").write_bytes(content[: len(content) // 2])
    return place / "image.png"


def directory(place):
    (place / "photos").mkdir()
    return place / "photos"


def float_image(place):
    Image.new("F", (8, 9)).save(place / "image.tiff")
    return place / "image.tiff"


@pytest.mark.parametrize(
    "make, says",
    [
        (nothing, "there is no image"),
        (text_image, "as an image"),
        (cut_image, "as an image"),
        (directory, "as an image"),
        (float_image, "floating point pixels"),
    ],
)
def test_images_that_are_none(place, make, says):
    path = make(place)
    fails(place, "infer", digits_onnx(), IMAGES[0], path, says=[says, path.name])
    fails(place, "infer", digits_onnx(), path, IMAGES[0], path, says=["2 of 3 images cannot be classified", says])
    fails(place, "infer", digits_onnx(), "n" * 300, says=["File name too long"])
    if make is not directory:
        says = "there is no image or directory" if make is nothing else says
        fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--images", path, says=[says])


def test_a_directory_without_images(place):
    (place / "photos").mkdir()
    (place / "photos" / "readme.txt").write_text("none here")
    says = ["no images in", ".jpg"]
    fails(place, "verify", digits_onnx(), "--checkpoint", DIGITS, "--images", place / "photos", says=says)


def test_infer_needs_a_classifier_that_works(place):
    path = edited(two_outputs_onnx(), place / "m.onnx", metadata("outputs", ["pooled"]))
    fails(place, "infer", path, IMAGES[0], says=["does not classify", "Got: pooled"])

    def nan(model):
        edit_weight(model, "head.bias", lambda array: array.fill(np.nan))

    path = edited(digits_onnx(), place / "m.onnx", nan)
    fails(place, "infer", path, IMAGES[0], says=["no usable 'logits'", "NaN or infinity", "natdeploy verify"])


def test_onnx_runtime_s_refusal_is_one_paragraph(place):
    def unknown(model):
        next(node for node in model.graph.node if node.op_type == "Gelu").op_type = "Telu"

    path = edited(digits_onnx(), place / "m.onnx", unknown)
    fails(place, "infer", path, IMAGES[0], says=["ONNX Runtime refuses 'm.onnx'", "Telu"])


def test_text_that_is_none(place):
    path = edited(
        digits_onnx(), place / "m.onnx", lambda model: edit_metadata(model, lambda d: d.update(labels=["x"] * 10))
    )
    path.write_bytes(path.read_bytes().replace(b'["x"', b'["\xff"'))
    fails(place, "infer", path, IMAGES[0], says=["m.onnx"])
    fails(place, "inspect", path, says=["m.onnx"])


def test_a_graph_that_breaks_onnx_s_rules(place):
    def unsorted(model):
        model.graph.node.append(model.graph.node[0])
        del model.graph.node[0]

    path = edited(digits_onnx(), place / "m.onnx", unsorted)
    fails(place, "lower", path, "-o", "out.onnx", says=["cannot read", "topologically sorted"])


def test_probes_that_are_not_in_the_graph(place):
    path = edited(digits_onnx(), place / "m.onnx", metadata("probes", ["stem", "nowhere"]))
    result = run("verify", path, "--checkpoint", DIGITS, "--layers", "--json")
    assert result.status == 0
    assert "inner tensors are not in the file" in result.json["notes"][0]
    path = edited(digits_onnx(), place / "m.onnx", lambda model: rename_tensor(model, "stem", "root"))
    fails(place, "verify", path, "--checkpoint", DIGITS, "--layers", says=["no inner tensors named stem"])


def rename_tensor(model, old, new):
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = new if name == old else name
