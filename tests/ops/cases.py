"""One table of operator cases for every implementation: references, torch, ONNX function, portable form, kernels.

Height differs from width in every case, and window and dilation differ between the axes wherever the operator allows
it. A size, seed or attribute that once failed somewhere joins the table, with the commit that mended it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from natdeploy.ops.reference import neighborhood_attention
from natdeploy.ops.spec import Neighborhood

Array = npt.NDArray[np.generic]

SHORT_DTYPES = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class Tensors(NamedTuple):
    """Inputs of one case, float32: query, key and value ``[B, *spatial, heads, head_dim]``, rpb float32 or None."""

    query: Array
    key: Array
    value: Array
    rpb: Array | None

    def packed(self) -> Array:
        """``[B, *spatial, 3*heads*head_dim]``, as a Linear leaves it."""
        qkv = np.stack(self[:3], axis=-3)
        return qkv.reshape(*qkv.shape[:-3], 3 * qkv.shape[-2] * qkv.shape[-1])  # -1 is undefined where the batch is 0


@dataclass(frozen=True)
class Case:
    """One set of shapes and attributes; ``str(case)`` is its id.

    ``heads_first`` lays query, key and value out as ``[B, heads, *spatial, head_dim]`` in memory, so that the tensors
    of the contract are not contiguous.
    """

    extents: tuple[int, ...]
    kernel_size: tuple[int, ...]
    dilation: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    is_causal: tuple[int, ...] = ()
    has_rpb: bool = False
    batch: int = 1
    heads: int = 2
    head_dim: int = 16
    heads_first: bool = False
    seed: int = 0

    def __str__(self) -> str:
        """Print every variable: ``b1-h15-w22-win7x5-dil2x1-heads3-dim16-rpb``."""
        axes = {1: "l", 2: "hw", 3: "dhw"}[self.rank]
        parts = [f"b{self.batch}", *(f"{axis}{extent}" for axis, extent in zip(axes, self.extents, strict=True))]
        parts.append("win" + "x".join(map(str, self.kernel_size)))
        for name, values in (("dil", self.dilation), ("stride", self.stride), ("causal", self.is_causal)):
            if values:
                parts.append(name + "x".join(map(str, values)))
        parts += [f"heads{self.heads}", f"dim{self.head_dim}"]
        parts += ["rpb"] * self.has_rpb + ["headsfirst"] * self.heads_first + [f"seed{self.seed}"] * (self.seed > 0)
        return "-".join(parts)

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.extents)

    @property
    def is_strided(self) -> bool:
        """Whether any stride is not 1."""
        return any(s != 1 for s in self.stride)

    @property
    def causal(self) -> bool:
        """Whether any axis is causal."""
        return any(self.is_causal)

    @property
    def neighborhood(self) -> Neighborhood:
        """The operator's attributes; the scale is the usual one."""
        return Neighborhood.of(self.kernel_size, self.head_dim**-0.5, self.dilation, self.stride, self.is_causal)

    def tensors(self) -> Tensors:
        """Unit-variance inputs, the same every time."""
        rng = np.random.default_rng([self.seed, *self.extents, self.head_dim])
        shape = (self.batch, *self.extents, self.heads, self.head_dim)
        qkv = (rng.standard_normal(shape, np.float32) for _ in range(3))
        query, key, value = (_heads_first(x) if self.heads_first else x for x in qkv)
        rpb_shape = (self.heads, *self.neighborhood.rpb_shape)
        return Tensors(query, key, value, rng.standard_normal(rpb_shape, np.float32) if self.has_rpb else None)

    def tensors_in(self, dtype: str) -> Tensors:
        """Inputs with query, key and value rounded to ``dtype`` (and back to float32); rpb stays as it is."""
        found = self.tensors()
        query, key, value = (rounded(x, dtype) for x in found[:3])
        return Tensors(query, key, value, found.rpb)

    def expected(self, dtype: str = "float32") -> Array:
        """What the float64 reference gives for :meth:`tensors_in`."""
        return _expected(self, dtype if dtype in ("float16", "bfloat16") else "float32")


@cache
def _expected(case: Case, dtype: str) -> Array:
    return neighborhood_attention(*case.tensors_in(dtype), case.neighborhood)


def rounded(x: Array, dtype: str) -> Array:
    """Round float32 values to what ``dtype`` can hold."""
    if dtype == "float16":
        return x.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":  # round to nearest even: numpy has no bfloat16
        bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return x


def _heads_first(x: Array) -> Array:
    """Same values, other layout in memory: heads before the spatial axes."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -2, 1)), 1, -2)


def select(
    *, rank: int | None = None, has_rpb: bool | None = None, strided: bool | None = None, causal: bool | None = None
) -> list[Case]:
    """Give the cases that have all the properties asked for."""
    wanted = {"rank": rank, "has_rpb": has_rpb, "is_strided": strided, "causal": causal}
    return [
        case for case in CASES if all(value is None or getattr(case, name) == value for name, value in wanted.items())
    ]


CASES: tuple[Case, ...] = (
    # As in the models: 7x7 and 32 channels per head, with a bias.
    Case((14, 15), (7, 7), has_rpb=True, head_dim=32),
    Case((21, 29), (7, 7), (3, 4), has_rpb=True, head_dim=32),
    # The map is the window, on one axis or both.
    Case((7, 5), (7, 5), has_rpb=True, heads=3),
    Case((7, 12), (7, 5), (1, 2), has_rpb=True),
    Case((14, 10), (7, 5), (2, 2), has_rpb=True, heads=3),
    # Below, at and above tiles of 8 and 16, and no multiple of them.
    Case((7, 8), (3, 5), has_rpb=True),
    Case((8, 9), (5, 3), has_rpb=True),
    Case((15, 16), (5, 7), has_rpb=True),
    Case((17, 33), (7, 5), has_rpb=True),
    # Dilation that leaves a remainder: groups of unequal length.
    Case((15, 22), (7, 5), (2, 1), has_rpb=True, heads=3),
    Case((16, 23), (3, 5), (5, 4), has_rpb=True),
    Case((13, 11), (3, 3), (4, 3)),
    # Batches, heads, head_dim.
    Case((9, 11), (5, 3), (1, 2), has_rpb=True, batch=0),
    Case((9, 11), (5, 3), (1, 2), has_rpb=True, batch=3),
    Case((10, 9), (3, 5), has_rpb=True, heads=1, head_dim=1),
    Case((10, 9), (3, 5), heads=1, head_dim=5, batch=2),
    Case((9, 10), (5, 3), has_rpb=True, heads=4, head_dim=5),
    Case((12, 10), (5, 3), has_rpb=True, head_dim=24),
    Case((10, 12), (3, 5), (1, 2), has_rpb=True, heads=1, head_dim=64),
    # Not contiguous.
    Case((11, 13), (5, 7), has_rpb=True, heads=3, batch=2, heads_first=True),
    # Even windows look one further back than ahead; a window of 1; the whole map.
    Case((11, 13), (4, 6), (2, 1), has_rpb=True),
    Case((12, 9), (2, 8)),
    Case((6, 9), (1, 5), has_rpb=True),
    Case((13, 14), (13, 14), has_rpb=True, heads=1),
    Case((15, 17), (11, 13), has_rpb=True),
    # Without a bias.
    Case((15, 13), (7, 5), head_dim=32),
    Case((9, 17), (3, 7), (2, 2), batch=2),
    # Strided windows.
    Case((15, 13), (7, 5), stride=(3, 2)),
    Case((16, 11), (5, 4), (2, 1), stride=(5, 4)),
    Case((14, 17), (4, 3), (1, 3), stride=(2, 3), batch=2),
    # Causal axes.
    Case((9, 12), (5, 3), is_causal=(1, 0)),
    Case((12, 9), (3, 6), (2, 1), is_causal=(0, 1)),
    Case((11, 13), (4, 5), (2, 2), is_causal=(1, 1)),
    Case((13, 14), (5, 4), (1, 2), stride=(3, 2), is_causal=(1, 0)),
    Case((10, 13), (5, 5), stride=(2, 5), is_causal=(1, 1)),
    # One axis.
    Case((37,), (9,), (4,), has_rpb=True, heads=3),
    Case((9,), (9,), has_rpb=True, batch=2),
    Case((29,), (6,), (3,), has_rpb=True, head_dim=5),
    Case((31,), (8,), (3,), stride=(5,)),
    Case((30,), (7,), (4,), is_causal=(1,), batch=2),
    Case((26,), (6,), stride=(4,), is_causal=(1,), heads=1),
    # Three axes.
    Case((5, 6, 7), (3, 2, 5), (1, 2, 1), has_rpb=True),
    Case((3, 5, 4), (3, 5, 4), has_rpb=True, heads=1, batch=2),
    Case((6, 7, 5), (3, 3, 2), (2, 1, 2)),
    Case((6, 5, 8), (4, 3, 3), (1, 1, 2), stride=(2, 3, 1)),
    Case((7, 6, 5), (3, 4, 2), (2, 1, 1), is_causal=(1, 0, 1)),
    Case((5, 8, 6), (5, 3, 4), (1, 2, 1), stride=(3, 2, 1), is_causal=(1, 1, 0)),
)
