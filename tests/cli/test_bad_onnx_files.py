"""ONNX files that are damaged, hostile or not ours: one paragraph, status 1, and nothing left behind."""

import numpy as np
import onnx
import pytest
from command_line import (
    DIGITS,
    IMAGES,
    digits_onnx,
    edit_metadata,
    edit_weight,
    edited,
    plugin_onnx,
    run,
)
from refusals import fails, metadata


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
    (place / "model.tflite").write_bytes(b"")
    fails(place, "infer", "model.tflite", IMAGES[0], says=["ends in '.tflite'", ".onnx"])
    fails(place, "verify", "model", "--checkpoint", DIGITS, says=["a file without suffix"])
    fails(place, "verify", ".", "--checkpoint", DIGITS, says=["cannot run '.'"])


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
