"""Reading checkpoint files as data: JSON, safetensors, and pickles without the power to run code."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.errors import MissingDependencyError, NatdeployError
from natdeploy.ordinary_files import refuse_special_file

if TYPE_CHECKING:
    from torch import Tensor

_SAFETENSORS_INDEX = "model.safetensors.index.json"
_BIN_INDEX = "pytorch_model.bin.index.json"

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_PICKLE_BEGINS = (b"PK\x03\x04", b"\x80")  # torch.save: a zip since 1.6, a bare pickle of protocol 2 before

_WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema")  # where training scripts put the weights

# What torch.load raises on damaged bytes (all but the last two seen in 16000 randomly damaged files, torch 2.15).
_DAMAGED = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, struct.error,
            AssertionError, OverflowError, MemoryError)  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        NatdeployError: If the file is missing, unreadable, or holds anything but a JSON object.
    """
    refuse_special_file(path)
    try:
        content = path.read_bytes()
        _refuse_lfs_pointer(path, content)
        document = json.loads(content.decode())
    except FileNotFoundError as error:
        raise NatdeployError(f"there is no {path.name} in '{path.parent}'") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise NatdeployError(f"cannot read '{path}' as JSON", got=str(error)) from error
    if not isinstance(document, dict):
        raise NatdeployError(f"'{path}' holds no JSON object", got=f"a {type(document).__name__}")
    return document


def tensors_from_files(directory: Path) -> dict[str, Tensor]:
    """Read the weights of a Hugging Face directory: safetensors before bin, whole or sharded.

    Raises:
        NatdeployError: If there are none, or they cannot be read.
    """
    for whole, index in (("model.safetensors", _SAFETENSORS_INDEX), ("pytorch_model.bin", _BIN_INDEX)):
        if (directory / whole).exists():
            return tensors_from_file(directory / whole)
        if (directory / index).exists():
            return _tensors_from_shards(directory, directory / index)
    raise NatdeployError(
        f"there are no weights in '{directory}'",
        got=", ".join(sorted(p.name for p in directory.iterdir())) or "an empty directory",
        needed=f"model.safetensors, {_SAFETENSORS_INDEX}, pytorch_model.bin or {_BIN_INDEX}",
    )


def _tensors_from_shards(directory: Path, index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index).get("weight_map")
    if (
        not isinstance(weight_map, Mapping)
        or not weight_map
        or not all(isinstance(v, str) for v in weight_map.values())
    ):
        raise NatdeployError(f"'{index}' has no usable 'weight_map'")
    shards = sorted(set(weight_map.values()))
    outside = [name for name in shards if Path(name).name != name]
    missing = [name for name in shards if name not in outside and not (directory / name).exists()]
    if outside or missing:
        raise NatdeployError(
            f"'{index}' names shards that cannot be used",
            got="; ".join(
                [f"outside the directory: {name}" for name in outside] + [f"missing: {name}" for name in missing]
            ),
            next_step="Download the whole checkpoint again",
        )
    pairs = [pair for name in shards for pair in tensors_from_file(directory / name).items()]
    return uniquely_named(pairs, f"'{index}'")


def uniquely_named(pairs: Iterable[tuple[str, Tensor]], source: str) -> dict[str, Tensor]:
    """Make a dictionary of tensors that come from several places, or whose names have just been changed.

    Raises:
        NatdeployError: If two tensors have the same name: one of them would be dropped in silence.
    """
    tensors: dict[str, Tensor] = {}
    twice = []
    for name, tensor in pairs:
        if name in tensors:
            twice.append(name)
        tensors[name] = tensor
    if twice:
        raise NatdeployError(f"{source} holds more than one tensor for one name", got=", ".join(sorted(twice)[:8]))
    return tensors


def tensors_from_file(path: Path) -> dict[str, Tensor]:
    """Read one ``.safetensors`` file or one pickle (``.bin``, ``.pth``) of tensors; floats become float32.

    Raises:
        NatdeployError: If the file is damaged, wants to run code, or holds anything but named tensors.
    """
    refuse_special_file(path)
    try:
        with path.open("rb") as file:
            begin = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise NatdeployError(f"cannot read '{path}'", got=error.strerror or str(error)) from error
    _refuse_lfs_pointer(path, begin)
    if path.suffix == ".safetensors":
        return {name: _float32(tensor) for name, tensor in _read_safetensors(path).items()}
    if not begin.startswith(_PICKLE_BEGINS):
        raise NatdeployError(
            f"'{path}' is no PyTorch checkpoint",
            got=f"a file that begins with {begin[:20]!r}" if begin else "an empty file",
            needed="a file that torch.save wrote, or one whose name ends in .safetensors",
        )
    return tensors_from_pickle(path)


def _refuse_lfs_pointer(path: Path, begin: bytes) -> None:
    if begin.startswith(_LFS_POINTER):
        raise NatdeployError(
            f"'{path}' is a Git LFS pointer, not the file it stands for",
            next_step="Fetch the file with `git lfs pull`, or download the checkpoint again",
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError("safetensors", f"reading '{path.name}'", "export") from error
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise NatdeployError(
            f"cannot read '{path}'",
            got=f"{error}",
            needed="a complete safetensors file",
            next_step="It may be cut off, or a Git LFS pointer: download it again",
        ) from error
    return tensors


def tensors_from_pickle(path: Path) -> dict[str, Tensor]:
    """Read a PyTorch pickle: weights alone, or wrapped in ``state_dict``/``model``, with training state beside them.

    Unpickling is restricted to tensors, containers and a few harmless value types (``argparse.Namespace``, numpy
    scalars); a pickle that names anything else is refused before anything of it runs.

    Raises:
        NatdeployError: If the file is damaged, wants to run code, or holds no named tensors.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_harmless_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on pickle protocols mean nothing to a user
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NatdeployError(
            f"refused to read '{path}': it holds more than weights, and reading it could run code; or it is damaged",
            got=_refusal(error),
            needed="a file of tensors, plain containers, argparse.Namespace and numpy scalars",
            next_step="If you trust it, load it yourself and save its state dict with safetensors",
        ) from error
    except _DAMAGED as error:
        raise NatdeployError(
            f"cannot read '{path}' as a PyTorch checkpoint",
            got=_first_line(error),
            next_step="If it is cut off, download it again; of a TorchScript archive, save the state dict instead",
        ) from error
    return uniquely_named(
        ((_bare_name(name), _float32(tensor)) for name, tensor in _state_dict(loaded, path).items()), f"'{path}'"
    )


def _harmless_globals() -> list[Any]:
    """Types that published checkpoints carry beside their weights and that only hold values."""
    import argparse

    import numpy as np

    scalar_types = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    try:
        from numpy._core.multiarray import scalar
    except ImportError:  # numpy < 2
        from numpy.core.multiarray import scalar  # type: ignore[no-redef]
    # numpy 2 renamed the module, and an allow-list goes by name: both, whichever numpy wrote and reads the file.
    scalars = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *scalar_types, *scalars]


def _state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    """Find the weights in what a pickle held."""
    import torch

    for _ in range(2):  # wrapped twice at most: {"model": {"state_dict": ...}}
        inner = [loaded[key] for key in _WRAPPERS if key in loaded] if isinstance(loaded, Mapping) else []
        loaded = next((value for value in inner if isinstance(value, Mapping)), loaded)
    tensors = (
        {str(k): v for k, v in loaded.items() if isinstance(v, torch.Tensor)} if isinstance(loaded, Mapping) else {}
    )
    if not tensors:
        raise NatdeployError(
            f"'{path}' holds no named tensors",
            got=f"a {type(loaded).__name__}",
            needed="a state dict, bare or under 'state_dict' or 'model'",
        )
    return tensors


def _bare_name(name: str) -> str:
    """Take off the prefixes that ``DataParallel`` and ``torch.compile`` leave."""
    return re.sub(r"^(module\.|_orig_mod\.)+", "", name)


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _refusal(error: pickle.UnpicklingError) -> str:
    """What a pickle wants to call, or else torch's reason."""
    message = str(error)
    if wanted := re.search(r"GLOBAL (\S+)", message):
        return f"a pickle that calls {wanted[1]}"
    return _first_line(message.partition("WeightsUnpickler error:")[2] or message)


def _first_line(error: Exception | str) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
