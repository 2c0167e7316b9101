"""Tensors between guard bands full of NaN: what is written outside of them shows, and what is read there spreads.

Everything is prepared and inspected on the host, so that on the device nothing runs but copies and the kernel under
test: sanitizers then know of every byte whether it was written.
"""

from __future__ import annotations

import torch
from torch import Tensor

GUARD_BYTES = 4096
LAYOUTS = ("packed", "split", "heads_first", "misaligned", "gaps")


class Guarded:
    """One allocation: guard, flat tensor, guard. Every byte is 0xFF at first, which is NaN in all float types.

    Args:
        elements: Of the tensor.
        dtype: Of the tensor.
        shift: Elements that the tensor begins behind an aligned address.
    """

    def __init__(self, elements: int, dtype: torch.dtype, shift: int = 0) -> None:
        self._dtype = dtype
        self._begin = GUARD_BYTES + shift * dtype.itemsize
        self._end = self._begin + elements * dtype.itemsize
        self._host = torch.full((self._end + GUARD_BYTES,), 0xFF, dtype=torch.uint8)
        self._device: Tensor | None = None

    @property
    def host(self) -> Tensor:
        """The tensor on the host: what ``upload`` sends."""
        return self._host[self._begin : self._end].view(self._dtype)

    def upload(self, device: str) -> Tensor:
        """Send everything to the device; gives the tensor there."""
        self._device = self._host.clone() if device == "cpu" else self._host.to(device)
        return self._device[self._begin : self._end].view(self._dtype)

    def download(self) -> tuple[Tensor, bool]:
        """Give the tensor as the device has it now, and whether the guards are intact."""
        assert self._device is not None, "upload comes first"
        now = self._device.cpu()
        guards = torch.cat([now[: self._begin], now[self._end :]])
        return now[self._begin : self._end].view(self._dtype), bool((guards == 0xFF).all())

    def is_unchanged(self) -> bool:
        """Whether the device has, bit for bit, what was sent."""
        assert self._device is not None, "upload comes first"
        return torch.equal(self._device.cpu(), self._host)


class Placed:
    """A ``[B, H, W, heads, head_dim]`` tensor, or several packed into one, in some layout of memory.

    Args:
        shape: ``[B, H, W, heads, head_dim]``.
        dtype: Of the elements.
        layout: Of LAYOUTS: packed (``count`` tensors side by side, as a Linear leaves them), split (dense),
            heads_first (heads before the map in memory), misaligned (one element behind an aligned address), gaps
            (every token has NaN behind it).
        count: 3 for qkv; 1 else.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, layout: str, count: int = 1) -> None:
        assert layout in LAYOUTS, layout
        self._shape, self._layout, self._count = shape, layout, count
        batch, height, width, heads, head_dim = shape
        self._per_token = count * heads * head_dim + 16 * (layout == "gaps")
        elements = batch * height * width * self._per_token
        self._memory = Guarded(elements, dtype, shift=int(layout == "misaligned"))

    def fill(self, *values: Tensor) -> None:
        """Set the tensors' values on the host."""
        for target, value in zip(self._views(self._memory.host), values, strict=True):
            target.copy_(value)

    def upload(self, device: str) -> list[Tensor]:
        """Give the tensors on the device."""
        return self._views(self._memory.upload(device))

    def is_unchanged(self) -> bool:
        """Whether tensors, gaps and guards on the device are as sent, bit for bit."""
        return self._memory.is_unchanged()

    def result(self) -> tuple[Tensor, list[str]]:
        """Give the only tensor as the device has it now, and what was written that should not have been."""
        flat, intact = self._memory.download()
        problems = [] if intact else ["wrote outside of the output"]
        is_gap = torch.ones_like(flat, dtype=torch.bool)
        (inside,) = self._views(is_gap)
        inside.fill_(False)
        if not torch.isnan(flat[is_gap]).all():
            problems.append("wrote between the tokens of the output")
        (tensor,) = self._views(flat)
        return tensor, problems

    def _views(self, flat: Tensor) -> list[Tensor]:
        batch, height, width, heads, head_dim = self._shape
        if self._layout == "heads_first":
            dense = flat.view(batch, self._count * heads, height, width, head_dim).permute(0, 2, 3, 1, 4)
        else:
            tokens = flat.view(batch, height, width, self._per_token)[..., : self._count * heads * head_dim]
            dense = tokens.unflatten(-1, (self._count * heads, head_dim))
        return [dense[..., i * heads : (i + 1) * heads, :] for i in range(self._count)]
