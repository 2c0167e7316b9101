"""``lowered_from_onnx``: one form of a file from another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files.files import check_target, read_onnx, write_onnx
from natdeploy.onnx_files.forms import convert_form
from natdeploy.onnx_files.metadata import KEY, metadata_from_properties
from natdeploy.ops.support import FORMS


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
    model = read_onnx(source)
    convert_form(model, form, source.name)
    if KEY in model.metadata_props:
        metadata = metadata_from_properties(model.metadata_props, source.name)
        model.metadata_props[KEY] = replace(metadata, form=form).to_json()
    return write_onnx(model, path, external_data)
