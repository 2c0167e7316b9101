"""Shapes that depend on the image's size: padding and cropping, as torch ops that export as computed shapes.

Under ``torch.export`` with symbolic sizes, ``torch.nn.functional.pad`` by a computed amount puts guards on the sizes,
and a Python ``if`` bakes the example's branch into the graph in silence (seen with torch 2.13). So each of these is an
op of its own whose shape rule is written here; ``onnx_files/shape_ops.py`` turns the symbolic ones into ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from natdeploy.ops.spec import DOMAIN

if TYPE_CHECKING:
    from torch._library.custom_ops import CustomOpDef


def pad_to_extents(x: Tensor, extents: Sequence[int], smallest: Sequence[int] = (0, 0)) -> Tensor:
    """Zero-pad ``[B, H, W, C]`` at the bottom and right to at least ``extents`` (height, width).

    Args:
        x: The map.
        extents: Smallest (height, width) of the result.
        smallest: Smallest (height, width) that ``x`` can have, where its size is symbolic.
    """
    sizes = (size if isinstance(size, int) else low for size, low in zip(x.shape[1:3], smallest, strict=True))
    if all(size >= extent for size, extent in zip(sizes, extents, strict=True)):
        return x
    padded: Tensor = torch.ops.natdeploy.pad_to_extents(x, list(extents))
    return padded


def crop_like(x: Tensor, like: Tensor) -> Tensor:
    """Crop ``[B, H, W, C]``, which came of padding ``like``, back to its height and width."""
    cropped: Tensor = torch.ops.natdeploy.crop_like(x, like)
    return cropped


def pad_to_multiple(x: Tensor, multiple: int, first_axis: int) -> Tensor:
    """Zero-pad the two axes from ``first_axis`` on, at their ends, to a multiple of ``multiple``."""
    if all(isinstance(size, int) and size % multiple == 0 for size in x.shape[first_axis : first_axis + 2]):
        return x
    padded: Tensor = torch.ops.natdeploy.pad_to_multiple(x, multiple, first_axis)
    return padded


@torch.library.custom_op(f"{DOMAIN}::pad_to_extents", mutates_args=())
def _pad_to_extents(x: Tensor, extents: Sequence[int]) -> Tensor:
    return concrete_pad_to_extents(x, extents).clone()


def shape_at_least(x: Tensor, extents: Sequence[int]) -> list[Any]:
    """Shape rule of :func:`pad_to_extents`, for symbolic sizes too."""
    height, width = (torch.sym_max(size, extent) for size, extent in zip(x.shape[1:3], extents, strict=True))
    return [x.shape[0], height, width, x.shape[3]]


@_pad_to_extents.register_fake
def _(x: Tensor, extents: Sequence[int]) -> Tensor:
    return x.new_empty(shape_at_least(x, extents))


def concrete_pad_to_extents(x: Tensor, extents: Sequence[int]) -> Tensor:
    """:func:`pad_to_extents` where the sizes are plain integers."""
    bottom, right = (max(0, extent - size) for size, extent in zip(x.shape[1:3], extents, strict=True))
    return torch.nn.functional.pad(x, (0, 0, 0, right, 0, bottom))


@torch.library.custom_op(f"{DOMAIN}::crop_like", mutates_args=())
def _crop_like(x: Tensor, like: Tensor) -> Tensor:
    return concrete_crop_like(x, like).clone()


@_crop_like.register_fake
def _(x: Tensor, like: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], like.shape[1], like.shape[2], x.shape[3]))


def concrete_crop_like(x: Tensor, like: Tensor) -> Tensor:
    """:func:`crop_like` where the sizes are plain integers."""
    return x[:, : like.shape[1], : like.shape[2]]


@torch.library.custom_op(f"{DOMAIN}::pad_to_multiple", mutates_args=())
def _pad_to_multiple(x: Tensor, multiple: int, first_axis: int) -> Tensor:
    return concrete_pad_to_multiple(x, multiple, first_axis).clone()


def shape_of_multiple(x: Tensor, multiple: int, first_axis: int) -> list[Any]:
    """Shape rule of :func:`pad_to_multiple`, for symbolic sizes too."""
    shape = list(x.shape)
    for axis in (first_axis, first_axis + 1):
        shape[axis] = (shape[axis] + multiple - 1) // multiple * multiple
    return shape


@_pad_to_multiple.register_fake
def _(x: Tensor, multiple: int, first_axis: int) -> Tensor:
    return x.new_empty(shape_of_multiple(x, multiple, first_axis))


def concrete_pad_to_multiple(x: Tensor, multiple: int, first_axis: int) -> Tensor:
    """:func:`pad_to_multiple` where the sizes are plain integers."""
    amounts = [0, 0] * (x.ndim - first_axis - 2)  # torch counts from the last axis
    for size in reversed(x.shape[first_axis : first_axis + 2]):
        amounts += [0, -size % multiple]
    return torch.nn.functional.pad(x, amounts)


def _gradient(op: CustomOpDef, concrete: Callable[..., Tensor]) -> None:
    """Differentiate through the plain torch version of the op."""

    def setup(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[object, ...], output: Tensor) -> None:
        ctx.arguments = inputs  # type: ignore[attr-defined]

    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.arguments  # type: ignore[attr-defined]
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            output = concrete(x, *rest)
        return (torch.autograd.grad(output, x, gradient)[0], *(None for _ in rest))

    op.register_autograd(backward, setup_context=setup)


_gradient(_pad_to_extents, concrete_pad_to_extents)
_gradient(_crop_like, concrete_crop_like)
_gradient(_pad_to_multiple, concrete_pad_to_multiple)
