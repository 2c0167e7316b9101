"""Reading and writing ONNX files: bounds-checked in, atomic and deterministic out."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from natdeploy.errors import NatdeployError

# protobuf's limit for one message, less room for the graph itself.
_LARGEST_SINGLE_FILE = 2**31 - 2**24


def read_onnx(path: Path) -> ir.Model:
    """Read an ONNX file, and the external data beside it where it has some.

    Raises:
        NatdeployError: If the file is missing, is no ONNX model, or refers to data that is missing or lies elsewhere.
    """
    return ir.from_proto(read_onnx_proto(path))


def read_onnx_proto(path: Path, external_data: bool = True) -> onnx.ModelProto:
    """Read an ONNX file as protobuf; the same errors as :func:`read_onnx`."""
    try:
        model = onnx.load(path, load_external_data=external_data)
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no ONNX file '{path}'") from error
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise NatdeployError(
            f"cannot read '{path}' as an ONNX model",
            got=str(error).splitlines()[0][:300] if str(error) else type(error).__name__,
            next_step="Export it again with `natdeploy export`",
        ) from error
    if not model.graph.node or not model.ir_version:
        raise NatdeployError(f"'{path}' is no ONNX model", got="a file without a graph")
    return model


def write_onnx(model: ir.Model, path: Path, external_data: bool = False) -> None:
    """Check and write a model: beside the target first, then renamed, so that nothing half-written ever stands there.

    Args:
        model: What to write; the same model always gives the same bytes.
        path: Target; replaced if it exists.
        external_data: Put the weights into ``NAME.data`` beside it (needed over 2 GiB).

    Raises:
        NatdeployError: If the model is too large for one file, or the target cannot be written.
    """
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if size > _LARGEST_SINGLE_FILE and not external_data:
        raise NatdeployError(
            f"'{path.name}' would hold {size / 2**30:.1f} GiB of weights",
            needed="less than 2 GiB in one ONNX file",
            next_step="Use --external-data",
        )
    data = f"{path.name}.data"
    with writing_beside(path) as directory:
        if external_data:
            ir.save(model, directory / path.name, external_data=data, size_threshold_bytes=1024)
        else:
            proto = ir.to_proto(model)
            (directory / path.name).write_bytes(proto.SerializeToString(deterministic=True))
            del proto
        onnx.checker.check_model(str(directory / path.name), full_check=True)
        if external_data:
            (directory / data).replace(path.with_name(data))
        (directory / path.name).replace(path)
    if not external_data:
        path.with_name(data).unlink(missing_ok=True)  # of an earlier export with --external-data


@contextlib.contextmanager
def writing_beside(path: Path) -> Iterator[Path]:
    """Give a temporary directory beside ``path``; gone afterwards, whatever happens.

    Raises:
        NatdeployError: If the place cannot be written to, or runs full.
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
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
