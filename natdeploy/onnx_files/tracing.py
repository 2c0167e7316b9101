"""From a torch module to an ONNX graph with bare custom nodes, by torch's exporter.

Our torch ops stay opaque to ``torch.export``; a decomposition then replaces each by the ONNX node that stands for it
(``torch.onnx.ops.symbolic``). That order matters: ``torch.onnx.export`` converts the opset at the end and inlines
functions while doing so, even at equal opset (torch 2.13), so functions are appended after it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from natdeploy.input_format import NORMALISED
from natdeploy.models import sizes
from natdeploy.models.hierarchical import NeighborhoodAttentionTransformer
from natdeploy.models.probes import mark
from natdeploy.onnx_files.normalisation import PixelNormalisation
from natdeploy.onnx_files.probes import PROBE
from natdeploy.ops.onnx_nodes import OPSET
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION, PACKED, SPLIT, Neighborhood

# Op types that exist only between tracing and the pass that replaces them (shape_ops.py).
PAD_TO_EXTENTS, PAD_TO_MULTIPLE, CROP_LIKE = "PadToExtents", "PadToMultiple", "CropLike"


class _ExportableModel(nn.Module):
    """Named outputs as a tuple, inner tensors marked; ``normalisation`` comes before the model where there is one."""

    def __init__(self, model: nn.Module, outputs: Sequence[str], normalisation: nn.Module | None) -> None:
        super().__init__()
        self.model, self.outputs, self.normalisation = model, tuple(outputs), normalisation

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        if self.normalisation is not None:
            pixel_values = mark(NORMALISED, self.normalisation(pixel_values))
        found = self.model(pixel_values, self.outputs, mark)
        return tuple(found[name] for name in self.outputs)


def graph_from_model(
    model: NeighborhoodAttentionTransformer,
    outputs: Sequence[str],
    shape: Sequence[int | str],
    normalisation: PixelNormalisation | None = None,
) -> ir.Model:
    """Trace ``model``.

    Where sizes are free, call ``model.assume_smallest_image`` first: it decides where the graph pads.

    Args:
        model: The model, in eval mode.
        outputs: Names of the outputs.
        shape: Shape of ``pixel_values``; a name stands for an axis that stays free.
        normalisation: Comes before the model, and takes uint8.

    Returns:
        A model whose attention, probes and computed shapes are bare nodes of our domain.
    """
    # torch.export takes a size for granted that is 1 for some image (a "0/1 specialisation"), so free sizes are
    # traced large enough that no map shrinks to one pixel. The graph is the same for smaller ones: no node of it
    # depends on the sizes but those of models/sizes.py, and these compute.
    smallest = 2 * model.config.patch_size * 2**model.config.num_stages
    free = {i: torch.export.Dim(x, min=2 if i == 0 else smallest) for i, x in enumerate(shape) if isinstance(x, str)}
    example = [x if isinstance(x, int) else 2 if i == 0 else smallest + 32 * i for i, x in enumerate(shape)]
    pixels = torch.zeros(example, dtype=torch.float32 if normalisation is None else torch.uint8)
    module = _ExportableModel(model, outputs, normalisation).eval()
    with _quiet_exporter(), torch.no_grad():
        program = torch.export.export(module, (pixels,), dynamic_shapes=({**free},) if free else None)
        program = program.run_decompositions(_decompositions())
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixel_values"],
            output_names=list(outputs),
            external_data=False,
            verbose=False,
        )
    assert exported is not None
    traced: ir.Model = exported.model
    _name_free_axes(traced, shape)
    return traced


def _name_free_axes(model: ir.Model, shape: Sequence[int | str]) -> None:
    """Replace torch's symbols (``s77``) by the names of the input's free axes, in every shape of the graph."""
    traced = model.graph.inputs[0].shape
    assert traced is not None
    names = {str(symbol): name for symbol, name in zip(traced, shape, strict=True) if isinstance(name, str)}
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    for value in values if names else []:
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(dim, names) for dim in value.shape])


def _renamed(dim: int | ir.SymbolicDim, names: dict[str, str]) -> int | str:
    if isinstance(dim, int):
        return dim
    return re.sub(r"\bs\d+\b", lambda match: names.get(match[0], match[0]), str(dim))


def _node(
    op_type: str, inputs: Sequence[Tensor | None], like: Tensor, shape: Sequence[Any], **attributes: Any
) -> Tensor:
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{op_type}", inputs, attributes, dtype=like.dtype, shape=shape, version=DOMAIN_VERSION
    )


def _decompositions() -> dict[Any, Callable[..., Any]]:
    ops = torch.ops.natdeploy
    return {
        ops.packed_neighborhood_attention.default: _packed_attention,
        ops.neighborhood_attention.default: _split_attention,
        ops.probe.default: lambda x, name: _node(PROBE, [x], x, x.shape, name=name),
        ops.pad_to_extents.default: _pad_to_extents,
        ops.pad_to_multiple.default: _pad_to_multiple,
        ops.crop_like.default: _crop_like,
    }


def _packed_attention(qkv: Tensor, rpb: Tensor | None, num_heads: int, *window: Any) -> Tensor:
    inputs = [qkv] if rpb is None else [qkv, rpb]
    attributes = _neighborhood(*window).node_attributes(num_heads)
    return _node(PACKED, inputs, qkv, [*qkv.shape[:-1], qkv.shape[-1] // 3], **attributes)


def _split_attention(query: Tensor, key: Tensor, value: Tensor, rpb: Tensor | None, *window: Any) -> Tensor:
    inputs = [query, key, value] if rpb is None else [query, key, value, rpb]
    return _node(SPLIT, inputs, query, query.shape, **_neighborhood(*window).node_attributes())


def _neighborhood(
    kernel_size: Sequence[int], dilation: Sequence[int], stride: Sequence[int], is_causal: Sequence[int], scale: float
) -> Neighborhood:
    return Neighborhood.of(kernel_size, scale, dilation, stride, is_causal)


def _pad_to_extents(x: Tensor, extents: Sequence[int]) -> Tensor:
    if _is_concrete(x):
        return sizes.concrete_pad_to_extents(x, extents)
    return _node(PAD_TO_EXTENTS, [x], x, sizes.shape_at_least(x, extents), extents=list(extents))


def _pad_to_multiple(x: Tensor, multiple: int, first_axis: int) -> Tensor:
    if _is_concrete(x):
        return sizes.concrete_pad_to_multiple(x, multiple, first_axis)
    shape = sizes.shape_of_multiple(x, multiple, first_axis)
    return _node(PAD_TO_MULTIPLE, [x], x, shape, multiple=multiple, first_axis=first_axis)


def _crop_like(x: Tensor, like: Tensor) -> Tensor:
    if _is_concrete(x) and _is_concrete(like):
        return sizes.concrete_crop_like(x, like)
    return _node(CROP_LIKE, [x, like], x, (x.shape[0], *like.shape[1:3], x.shape[3]))


def _is_concrete(x: Tensor) -> bool:
    """Whether all sizes but the batch's are plain integers."""
    return all(isinstance(size, int) for size in x.shape[1:])


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's remarks on packages that it would also like (torchvision); errors still come."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
