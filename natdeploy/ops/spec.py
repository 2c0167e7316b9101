"""THE declaration of the operator: names, inputs, attributes, rules. Everything else is compared with this file.

The contract is written out in docs/design.md §3. Semantics follow NATTEN (https://natten.org); relative positional
bias follows NATTEN 0.17, the last release line that had it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

DOMAIN = "natdeploy"
DOMAIN_VERSION = 1

# Written on every node: the only form that TensorRT's ONNX parsers from 10.3 to 11.x all resolve to the plugin.
PLUGIN_NAMESPACE = "natdeploy"
PLUGIN_VERSION = "1"

PACKED = "PackedNeighborhoodAttention"
SPLIT = "NeighborhoodAttention"

MAX_RANK = 3


class AttributeType(Enum):
    """ONNX attribute types that the operator uses."""

    INT = "INT"
    INTS = "INTS"
    FLOAT = "FLOAT"
    STRING = "STRING"


@dataclass(frozen=True)
class Attribute:
    """One node attribute. An INTS attribute has one value per spatial axis, in axis order (height, width)."""

    name: str
    type: AttributeType
    meaning: str


@dataclass(frozen=True)
class Tensor:
    """One input or output of the operator; the shape is written with the names used in docs/design.md §3."""

    name: str
    shape: str
    optional: bool = False
    always_float32: bool = False


@dataclass(frozen=True)
class Operator:
    """One op type: its inputs, its only output and its attributes. Every attribute is written on every node."""

    op_type: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    attributes: tuple[Attribute, ...]


_RPB = Tensor("rpb", "[heads, 2*kernel_size[0]-1, ...]", optional=True, always_float32=True)

_COMMON_ATTRIBUTES = (
    Attribute("kernel_size", AttributeType.INTS, "window extent per axis; its length is the spatial rank (1-3)"),
    Attribute("dilation", AttributeType.INTS, "gap between neighbours; a token attends inside its dilation group"),
    Attribute("stride", AttributeType.INTS, "NATTEN's strided windows, 1 <= stride <= kernel_size"),
    Attribute("is_causal", AttributeType.INTS, "0 or 1: whether a token sees only itself and what comes before"),
    Attribute("scale", AttributeType.FLOAT, "multiplies query before query*key (usually head_dim**-0.5)"),
    Attribute(
        "plugin_namespace",
        AttributeType.STRING,
        f"always '{PLUGIN_NAMESPACE}': TensorRT finds its plugin by it",
    ),
    Attribute("plugin_version", AttributeType.STRING, f"always '{PLUGIN_VERSION}'"),
)

OPERATORS: dict[str, Operator] = {
    PACKED: Operator(
        PACKED,
        inputs=(Tensor("qkv", "[B, *spatial, 3*heads*head_dim], (q,k,v) x heads x head_dim"), _RPB),
        output=Tensor("output", "[B, *spatial, heads*head_dim]"),
        attributes=(Attribute("num_heads", AttributeType.INT, "number of heads"), *_COMMON_ATTRIBUTES),
    ),
    SPLIT: Operator(
        SPLIT,
        inputs=(
            Tensor("query", "[B, *spatial, heads, head_dim]"),
            Tensor("key", "[B, *spatial, heads, head_dim]"),
            Tensor("value", "[B, *spatial, heads, head_dim]"),
            _RPB,
        ),
        output=Tensor("output", "[B, *spatial, heads, head_dim]"),
        attributes=_COMMON_ATTRIBUTES,
    ),
}

# query, key, value and output share one of these; scores, softmax and accumulation are float32 (float64 only in
# the references). rpb stays float32: it is a few kilobytes, and halving it costs accuracy for nothing.
TENSOR_DTYPES = ("float32", "float16", "bfloat16")

# Largest absolute error that an implementation of the op may have on unit-variance inputs, against the float64
# reference on the same (rounded) inputs. Measured: the worst of the torch op over all of tests/ops/cases.py at seed 0,
# torch 2.15 on an x86-64 CPU. It computes in float32, so in the half types its error is half a unit in the last place
# of outputs between 2 and 4 (float16: 9.8e-4, bfloat16: 7.8e-3).
OP_TOLERANCE = {
    "float32": 2e-5,  # measured 1.1e-6; 2e-5 is what is promised for the golden op cases
    "float16": 4e-3,  # measured 9.7e-4; x4 for kernels that keep the softmax weights in float16
    "bfloat16": 4e-2,  # measured 7.8e-3; x5, likewise
}


@dataclass(frozen=True)
class Neighborhood:
    """Which neighbours a token sees, and the scale of the scores: every attribute but ``num_heads``.

    Args:
        kernel_size: Window extent per spatial axis.
        dilation: Per axis; default 1.
        stride: Per axis; default 1.
        is_causal: Per axis; default not causal.
        scale: Multiplies the query.
    """

    kernel_size: tuple[int, ...]
    dilation: tuple[int, ...]
    stride: tuple[int, ...]
    is_causal: tuple[bool, ...]
    scale: float

    @classmethod
    def of(
        cls,
        kernel_size: Sequence[int],
        scale: float,
        dilation: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
        is_causal: Sequence[bool | int] | None = None,
    ) -> Neighborhood:
        """Fill in the defaults: dilation 1, stride 1, not causal."""
        ones = (1,) * len(kernel_size)
        return cls(
            kernel_size=tuple(int(k) for k in kernel_size),
            dilation=tuple(int(d) for d in dilation or ones),
            stride=tuple(int(s) for s in stride or ones),
            is_causal=tuple(bool(c) for c in (is_causal or (0,) * len(kernel_size))),
            scale=float(scale),
        )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_size)

    @property
    def window_extents(self) -> tuple[int, ...]:
        """Smallest map that this window fits: kernel_size * dilation per axis."""
        return tuple(k * d for k, d in zip(self.kernel_size, self.dilation, strict=True))

    @property
    def rpb_shape(self) -> tuple[int, ...]:
        """Shape of the relative positional bias without its head axis."""
        return tuple(2 * k - 1 for k in self.kernel_size)

    def node_attributes(self, num_heads: int | None = None) -> dict[str, int | list[int] | float | str]:
        """Every attribute of an ONNX node, in the declared order; ``num_heads`` for the packed form only."""
        heads: dict[str, int | list[int] | float | str] = {} if num_heads is None else {"num_heads": num_heads}
        return {
            **heads,
            "kernel_size": list(self.kernel_size),
            "dilation": list(self.dilation),
            "stride": list(self.stride),
            "is_causal": [int(c) for c in self.is_causal],
            "scale": self.scale,
            "plugin_namespace": PLUGIN_NAMESPACE,
            "plugin_version": PLUGIN_VERSION,
        }

    def problems(self, extents: Sequence[int] | None = None, has_rpb: bool = False) -> list[str]:
        """Say what breaks the contract, all of it; an empty list means that the parameters are valid.

        Args:
            extents: Spatial size of the map (height, width), where it is known.
            has_rpb: Whether the op has a relative positional bias.
        """
        found = []
        if not 1 <= self.rank <= MAX_RANK:
            found.append(f"kernel_size has {self.rank} axes; 1 to {MAX_RANK} are supported")
        for name in ("dilation", "stride", "is_causal"):
            if len(getattr(self, name)) != self.rank:
                found.append(f"{name} has {len(getattr(self, name))} values for {self.rank} axes")
        if any(k < 1 for k in self.kernel_size) or any(d < 1 for d in self.dilation):
            found.append(f"kernel_size {self.kernel_size} and dilation {self.dilation} must be positive")
        if any(not 1 <= s <= k for s, k in zip(self.stride, self.kernel_size, strict=False)):
            found.append(f"stride {self.stride} must lie between 1 and kernel_size {self.kernel_size}")
        if not math.isfinite(self.scale):
            found.append(f"scale {self.scale} is not finite")
        if has_rpb and (any(self.is_causal) or any(s != 1 for s in self.stride)):
            found.append("relative positional bias is not defined together with is_causal or stride")
        if extents is not None and len(self.dilation) == self.rank:
            found += self._extent_problems(extents)
        return found

    def _extent_problems(self, extents: Sequence[int]) -> list[str]:
        if len(extents) != self.rank:
            return [f"the map has {len(extents)} spatial axes, kernel_size has {self.rank}"]
        return [
            f"axis {axis}: kernel_size*dilation = {window} exceeds the map's extent {extent}"
            for axis, (window, extent) in enumerate(zip(self.window_extents, extents, strict=False))
            if window > extent
        ]
