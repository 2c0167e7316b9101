"""Reading and writing ONNX files."""

import errno

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from command_line import digits_onnx, edited, portable_onnx

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files import files
from natdeploy.onnx_files.files import check_target, read_onnx, read_onnx_proto, write_onnx, writing_beside


@pytest.mark.parametrize("source", [digits_onnx, portable_onnx], ids=["hybrid", "portable"])
def test_a_written_file_is_what_serialization_gives(source, tmp_path):
    model = read_onnx(source())
    expected = ir.to_proto(model)
    size = write_onnx(model, tmp_path / "m.onnx")
    assert size == (tmp_path / "m.onnx").stat().st_size == expected.ByteSize()
    assert onnx.load(tmp_path / "m.onnx") == expected
    assert write_onnx(model, tmp_path / "again.onnx") == size  # the model still has its weights
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize("count", [1, 31, 32, 4093, 4096, 2**19, 2**19 + 1])
def test_weights_whose_length_takes_one_byte_more(count, tmp_path):
    values = np.arange(count, dtype=np.float32)
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    inputs = [onnx.helper.make_tensor_value_info("x", 1, [count])]
    outputs = [onnx.helper.make_tensor_value_info("y", 1, [count])]
    graph = onnx.helper.make_graph([node], "g", inputs, outputs, [onnx.numpy_helper.from_array(values, "w")])
    opset = [onnx.helper.make_opsetid("", 20)]
    write_onnx(ir.from_proto(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)), tmp_path / "m.onnx")
    (weight,) = onnx.load(tmp_path / "m.onnx").graph.initializer
    assert np.array_equal(onnx.numpy_helper.to_array(weight), values)


def test_external_data_and_back(tmp_path):
    model = read_onnx(digits_onnx())
    size = write_onnx(model, tmp_path / "m.onnx", external_data=True)
    assert size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    weights = {name: value.const_value.tobytes() for name, value in model.graph.initializers.items()}
    again = read_onnx(tmp_path / "m.onnx")
    assert {name: value.const_value.tobytes() for name, value in again.graph.initializers.items()} == weights
    light = read_onnx_proto(tmp_path / "m.onnx", external_data=False)
    assert any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in light.graph.initializer)


def test_more_than_two_gigabytes_need_external_data(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_SINGLE_FILE", 1000)
    with pytest.raises(NatdeployError, match="--external-data"):
        write_onnx(read_onnx(digits_onnx()), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    write_onnx(read_onnx(digits_onnx()), tmp_path / "m.onnx", external_data=True)


def test_a_model_that_the_checker_refuses_is_our_bug_and_leaves_nothing(tmp_path):
    model = read_onnx(digits_onnx())
    next(node for node in model.graph if node.op_type == "Gelu").op_type = "Telu"
    with pytest.raises(onnx.checker.ValidationError):
        write_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_data_of_a_replaced_file_goes_and_other_data_stays(tmp_path):
    model, target, data = read_onnx(digits_onnx()), tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    data.write_bytes(b"somebody's")
    write_onnx(model, target)
    assert data.read_bytes() == b"somebody's"
    write_onnx(model, target, external_data=True)
    assert data.stat().st_size > 1000
    write_onnx(read_onnx(target), target)
    assert not data.exists()


def test_the_directory_beside_is_gone_whatever_happens(tmp_path):
    with writing_beside(tmp_path / "m.onnx") as directory:
        assert directory.parent == tmp_path
        (directory / "part").touch()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), writing_beside(tmp_path / "m.onnx") as directory:
        (directory / "part").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "code, advice",
    [(errno.ENOSPC, "Free some space"), (errno.EDQUOT, "Free some space"), (errno.EROFS, "another place")],
)
def test_what_to_do_depends_on_why(tmp_path, code, advice):
    with pytest.raises(NatdeployError, match=advice), writing_beside(tmp_path / "m.onnx"):
        raise OSError(code, "reason")


def test_targets_are_checked_before_the_work(tmp_path):
    check_target(tmp_path / "m.onnx", ".onnx")
    (tmp_path / "m.onnx").touch()
    check_target(tmp_path / "m.onnx", ".onnx")
    for wrong in ("m.npz", "m", ".onnx", "missing/m.onnx", "m.onnx/m.onnx"):
        with pytest.raises(NatdeployError, match="cannot write"):
            check_target(tmp_path / wrong, ".onnx")


def test_a_graph_without_nodes_is_no_model(tmp_path):
    empty = edited(digits_onnx(), tmp_path / "m.onnx", lambda model: model.graph.ClearField("node"))
    with pytest.raises(NatdeployError, match="no ONNX model"):
        read_onnx(empty)
