"""Reading and writing ONNX files: bounds-checked in, atomic and deterministic out."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from natdeploy.errors import NatdeployError
from natdeploy.ordinary_files import refuse_special_file, special_kind

# protobuf's limit for one message, less room for the graph itself.
LARGEST_SINGLE_FILE = 2**31 - 2**24


def read_onnx(path: Path, external_data: bool = True) -> ir.Model:
    """Read an ONNX file, and the external data beside it where it has some (its values only if ``external_data``).

    Raises:
        NatdeployError: If the file is missing, is no ONNX model, or refers to data that is missing or lies elsewhere.
    """
    proto = read_onnx_proto(path, external_data)
    try:
        return ir.from_proto(proto)
    except (ir.serde.SerdeError, ValueError, LookupError, AssertionError) as error:
        raise _unreadable(path, error.__cause__ or error) from error


def size_of_weights(model: ir.Model) -> int:
    """Count the bytes of all weights, wherever they lie."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def check_onnx(path: Path) -> None:
    """Have ONNX's own checker look at a file that came from elsewhere.

    Raises:
        NatdeployError: If it breaks ONNX's rules.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> NatdeployError:
    return NatdeployError(
        f"cannot read '{path}' as an ONNX model",
        got=" ".join(str(error).split())[:300] or type(error).__name__,
        next_step="Export it again with `natdeploy export`",
    )


def read_onnx_proto(path: Path, external_data: bool = True) -> onnx.ModelProto:
    """Read an ONNX file as protobuf; the same errors as :func:`read_onnx`."""
    refuse_special_file(path)
    try:
        model = onnx.load(path, load_external_data=False)
        _check_external_data(model, path)
        if external_data:
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no ONNX file '{path}'") from error
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise _unreadable(path, error) from error
    if not model.graph.node or not model.ir_version:
        raise NatdeployError(f"'{path}' is no ONNX model", got="a file without a graph")
    return model


def _check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Refuse external data that is missing, cut off or outside the model's directory, before anything reads it."""
    tensors = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    fields = [{entry.key: entry.value for entry in tensor.external_data} for tensor in tensors]
    ends: dict[str, int] = {}
    for tensor, field in zip(tensors, fields, strict=True):
        numbers = [field.get(name, "0") for name in ("offset", "length")]
        if not all(number.isascii() and number.isdecimal() and len(number) < 19 for number in numbers):
            raise NatdeployError(f"'{path.name}': the external data of '{tensor.name}' has no usable offset and length")
        location = field.get("location", "")
        ends[location] = max(ends.get(location, 0), sum(map(int, numbers)))
    problems = []
    for location, end in ends.items():
        data = path.parent / location
        if not location or Path(location).is_absolute() or ".." in Path(location).parts:
            problems.append(f"'{location}' lies outside the model's directory")
        elif not data.is_file():
            problems.append(f"'{location}' is missing")
        elif data.stat().st_size < end:
            problems.append(f"'{location}' is cut off: {data.stat().st_size} of at least {end} bytes")
    if problems:
        raise NatdeployError(
            f"'{path.name}' keeps its weights in other files, and these cannot be used",
            got="; ".join(problems),
            next_step="Copy the .data file together with the model, or export it again without --external-data",
        )


def check_target(path: Path, suffix: str) -> None:
    """Refuse a target that cannot be written to, before the work whose result goes there.

    Raises:
        NatdeployError: If the name does not end in ``suffix``, the directory is missing, or no ordinary file stands
            there.
    """
    problem = None
    if path.suffix != suffix:
        problem = f"a name that does not end in {suffix}"
    elif path.is_dir():
        problem = "a directory of that name"
    elif (kind := special_kind(path)) is not None:
        problem = f"{kind} of that name"
    elif not path.parent.exists():
        problem = f"no directory '{path.parent}'"
    elif not path.parent.is_dir():
        problem = f"'{path.parent}', which is no directory"
    elif not os.access(path.parent, os.W_OK):
        problem = f"the directory '{path.parent}', in which nothing can be written"
    if problem is not None:
        raise NatdeployError(
            f"cannot write '{path}'",
            got=problem,
            needed=f"a file name that ends in {suffix}, in a directory that exists and can be written to",
        )


def write_onnx(model: ir.Model, path: Path, external_data: bool = False) -> int:
    """Check and write a model: beside the target first, then renamed, so that nothing half-written ever stands there.

    Args:
        model: What to write; the same model always gives the same bytes.
        path: Target; replaced if it exists.
        external_data: Put the weights into ``NAME.data`` beside it (needed over 2 GiB).

    Returns:
        Bytes written, external data included.

    Raises:
        NatdeployError: If the model is too large for one file, or the target cannot be written.
    """
    size = size_of_weights(model)
    if size > LARGEST_SINGLE_FILE and not external_data:
        raise NatdeployError(
            f"'{path.name}' would hold {size / 2**30:.1f} GiB of weights",
            needed="less than 2 GiB in one ONNX file",
            next_step="Use --external-data",
        )
    data = path.with_name(f"{path.name}.data")
    with writing_beside(path) as directory:
        if external_data:
            ir.save(model, directory / path.name, external_data=data.name, size_threshold_bytes=1024)
        else:
            _write_whole(model, directory / path.name)
        onnx.checker.check_model(str(directory / path.name), full_check=True)
        written = sum(file.stat().st_size for file in directory.iterdir())
        stale = not external_data and data.exists() and _refers_to(path, data.name)
        with interrupted_later():
            if (directory / data.name).exists():
                (directory / data.name).replace(data)
            (directory / path.name).replace(path)
            if stale:
                data.unlink(missing_ok=True)
    return written


def _write_whole(model: ir.Model, path: Path) -> None:
    """Write a single file with one weight in memory at a time; a serialized whole would be two more copies of all.

    By protobuf's wire format: everything but the graph, then the graph without its weights, then weight by weight.
    """
    values = [value for value in model.graph.initializers.values() if value.const_value is not None]
    weights = [value.const_value for value in values]
    logger = logging.getLogger(ir.serde.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)  # it would warn of every weight that is not there
    try:
        for value in values:
            value.const_value = None
        proto = ir.to_proto(model)
    finally:
        logger.setLevel(level)
        for value, weight in zip(values, weights, strict=True):
            value.const_value = weight
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")

    def tensor(value: ir.Value) -> onnx.TensorProto:
        assert value.const_value is not None
        value.const_value.name = value.name
        return ir.serde.serialize_tensor(value.const_value)

    sizes = [tensor(value).ByteSize() for value in values]
    total = len(graph) + sum(len(_field(onnx.GraphProto, "initializer", size)) + size for size in sizes)
    with path.open("wb") as file:
        file.write(proto.SerializeToString(deterministic=True))
        file.write(_field(onnx.ModelProto, "graph", total) + graph)
        for value, size in zip(values, sizes, strict=True):
            file.write(_field(onnx.GraphProto, "initializer", size))
            file.write(tensor(value).SerializeToString(deterministic=True))


def _field(message: Any, name: str, length: int) -> bytes:
    """Begin of a length-delimited field: its number with wire type 2, and the length, as base-128 numbers."""
    encoded = bytearray()
    for number in (message.DESCRIPTOR.fields_by_name[name].number << 3 | 2, length):
        while number > 0x7F:
            encoded.append(number & 0x7F | 0x80)
            number >>= 7
        encoded.append(number)
    return bytes(encoded)


def _refers_to(path: Path, data: str) -> bool:
    """Whether the file that is about to be replaced keeps its weights in ``data``."""
    try:
        tensors = onnx.load(path, load_external_data=False).graph.initializer
    except (DecodeError, OSError):
        return False
    return any(entry.value == data for tensor in tensors for entry in tensor.external_data if entry.key == "location")


@contextlib.contextmanager
def interrupted_later() -> Iterator[None]:
    """Let Ctrl-C wait: files that belong together are renamed together or not at all.

    A handler, not a mask: a mask is one thread's own, and the system gives the signal to another (NumPy has some).
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        before(signal.SIGINT, None)


@contextlib.contextmanager
def writing_beside(path: Path) -> Iterator[Path]:
    """Give a temporary directory beside ``path``; gone afterwards, whatever happens.

    Raises:
        NatdeployError: If the place cannot be written to, or runs full.
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix=".natdeploy.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield directory
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> NatdeployError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return NatdeployError(
        f"cannot write '{path}'",
        got=error.strerror or str(error),
        next_step="Free some space or choose another place with -o" if full else "Choose another place with -o",
    )
