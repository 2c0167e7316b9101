"""Reading checkpoint files as data: JSON, safetensors, and pickles without the power to run code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natdeploy.errors import MissingDependencyError, NatdeployError

if TYPE_CHECKING:
    from torch import Tensor

_SAFETENSORS_INDEX = "model.safetensors.index.json"
_BIN_INDEX = "pytorch_model.bin.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        NatdeployError: If the file is missing, unreadable, or holds anything but a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
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
    if not isinstance(weight_map, Mapping) or not all(isinstance(v, str) for v in weight_map.values()):
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
    tensors: dict[str, Tensor] = {}
    for name in shards:
        tensors |= tensors_from_file(directory / name)
    return tensors


def tensors_from_file(path: Path) -> dict[str, Tensor]:
    """Read one ``.safetensors`` file or one pickle (``.bin``, ``.pth``) of tensors; floats become float32.

    Raises:
        NatdeployError: If the file is damaged, wants to run code, or holds anything but named tensors.
    """
    if path.suffix == ".safetensors":
        return {name: _float32(tensor) for name, tensor in _read_safetensors(path).items()}
    return tensors_from_pickle(path)


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
        with torch.serialization.safe_globals(_harmless_globals()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NatdeployError(
            f"refused to read '{path}': it holds more than weights, and reading it could run code",
            got=_first_line(error),
            needed="a file of tensors, plain containers, argparse.Namespace and numpy scalars",
            next_step="If you trust it, load it yourself and save its state dict with safetensors",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise NatdeployError(
            f"cannot read '{path}' as a PyTorch checkpoint",
            got=_first_line(error),
            next_step="Download it again",
        ) from error
    return {_bare_name(name): _float32(tensor) for name, tensor in _state_dict(loaded, path).items()}


def _harmless_globals() -> list[Any]:
    """Types that published checkpoints carry beside their weights and that only hold values."""
    import argparse

    import numpy as np

    scalar_types = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    try:
        from numpy._core.multiarray import scalar
    except ImportError:  # numpy < 2
        from numpy.core.multiarray import scalar  # type: ignore[no-redef]
    # numpy 1 pickled its scalars under the old module name; an allow-list goes by name.
    return [argparse.Namespace, np.dtype, *scalar_types, scalar, (scalar, "numpy.core.multiarray.scalar")]


def _state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    """Find the weights in what a pickle held."""
    import torch

    for key in ("state_dict", "model", "state_dict_ema", "model_ema"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
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
    """Take off the prefix that ``DataParallel`` leaves."""
    return name.removeprefix("module.")


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
