"""``lowered_from_onnx``: one form of a file from another."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.attention_nodes import AttentionNode, checked_model_and_attention
from natdeploy.onnx_files.files import check_target, write_onnx
from natdeploy.onnx_files.forms import convert_form
from natdeploy.onnx_files.memory import memory_of_this_machine
from natdeploy.onnx_files.metadata import KEY, metadata_if_any
from natdeploy.ops.support import FORMS

_INDEX = 4  # bytes of one entry of the table of biases


def lowered_from_onnx(source: str | Path, path: str | Path, form: str = "portable", external_data: bool = False) -> int:
    """Write ``source`` in another form; names of tensors, inputs and outputs stay.

    Args:
        source: A file of the plugin or hybrid form. One that natdeploy did not write is taken too, if it has the op.
        path: Target; replaced if it exists, and untouched if anything fails.
        form: ``portable``, ``hybrid`` or ``plugin``.
        external_data: Weights into a file of their own.

    Returns:
        Bytes written, external data included.

    Raises:
        NatdeployError: If the file cannot be read, has no such op, or cannot take that form.
    """
    source, path = Path(source), Path(path)
    if form not in FORMS:
        raise NatdeployError(f"there is no form '{form}'", needed=", ".join(FORMS))
    check_target(path, ".onnx")
    model, _ = checked_model_and_attention(source, _check_memory if form == "portable" else None)
    convert_form(model, form, source.name)
    if (metadata := metadata_if_any(model.metadata_props, source.name)) is not None:
        model.metadata_props[KEY] = replace(metadata, form=form).to_json()
    return write_onnx(model, path, external_data)


def _check_memory(nodes: Iterable[AttentionNode], source: str) -> None:
    """Refuse tables that this machine could not even write: a file may claim any map."""
    have = memory_of_this_machine()
    for attention in nodes:
        tokens, window = math.prod(attention.fixed_extents or (0,)), math.prod(attention.neighborhood.kernel_size)
        if have is not None and (need := _INDEX * tokens * window) > have:
            raise NatdeployError(
                f"'{source}' cannot be written in the portable form on this machine",
                got=f"a map of {tokens} tokens, whose tables take at least {need / 2**30:.0f} GiB",
                needed=f"at most the {have / 2**30:.0f} GiB of memory that there are",
                next_step="Export the checkpoint for smaller images",
            )
