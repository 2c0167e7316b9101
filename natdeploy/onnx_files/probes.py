"""From the markers that tracing leaves (models/probes.py) to tensor names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from natdeploy.errors import NatdeployError
from natdeploy.onnx_files import files
from natdeploy.ops.spec import DOMAIN

# Op type of the marker; exists only between tracing and name_probes.
PROBE = "Probe"


def name_probes(model: ir.Model) -> tuple[str, ...]:
    """Take the markers out and give each marked tensor its name, in place.

    A tensor that has another name already (a graph output) is passed through an Identity, so both names exist.

    Returns:
        The probe names, in graph order.
    """
    graph = model.graph
    taken = {output.name for output in graph.outputs}
    names = []
    for node in [n for n in graph if n.domain == DOMAIN and n.op_type == PROBE]:
        name = node.attributes["name"].as_string()
        source, marked = node.inputs[0], node.outputs[0]
        assert source is not None
        names.append(name)
        if marked in graph.outputs and marked.name != name:  # keep the output's name beside the probe's
            node.op_type, node.domain = "Identity", ""
            node.attributes.clear()
        else:
            ir.convenience.replace_all_uses_with(marked, source, replace_graph_outputs=True)
            graph.remove(node)
        if source.name not in taken or source.name == name:
            source.name = name
    return tuple(names)


def with_probe_outputs(path: Path, probes: Sequence[str]) -> bytes:
    """Give the model of a file with inner tensors as further outputs, serialized.

    Raises:
        NatdeployError: If the file has no tensor of such a name, or is too large for one message with them.
    """
    size = files.size_of_weights(files.read_onnx(path, external_data=False))
    if size > files.LARGEST_SINGLE_FILE:
        raise NatdeployError(
            f"cannot look inside '{path.name}' as it runs",
            got=f"{size / 2**30:.1f} GiB of weights",
            needed="less than 2 GiB",
            next_step="Verify it without --layers",
        )
    model = files.read_onnx(path)
    values = {value.name: value for node in model.graph for value in node.outputs}
    if missing := [name for name in probes if name not in values]:
        raise NatdeployError(f"'{path.name}' has no inner tensors named {', '.join(missing)}")
    present = {output.name for output in model.graph.outputs}
    model.graph.outputs.extend(values[name] for name in probes if name not in present)
    serialized: bytes = ir.to_proto(model).SerializeToString()
    return serialized
