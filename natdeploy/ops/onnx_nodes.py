"""A few lines that make ONNX nodes read like arithmetic: ``op.Add(x, y)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

OPSET = 20  # ONNX Runtime 1.18 and TensorRT 10.3 read it
IR_VERSION = 10


class NodeBuilder:
    """Collects nodes in order; every attribute access is an op type of the standard domain.

    Args:
        on_constant: Where constants go; a ``Constant`` node where not given (function bodies have no initializers).
    """

    def __init__(self, on_constant: Callable[[npt.NDArray[Any]], ir.Value] | None = None) -> None:
        self.nodes: list[ir.Node] = []
        self._on_constant = on_constant

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        """Give a function ``(*inputs, num_outputs=1, **attributes)`` that appends a node and gives its output(s)."""
        if op_type.startswith("_"):
            raise AttributeError(op_type)

        def append(*inputs: ir.Value | None, num_outputs: int = 1, **attributes: Any) -> Any:
            node = ir.node(op_type, inputs, attributes, num_outputs=num_outputs)
            self.nodes.append(node)
            return node.outputs[0] if num_outputs == 1 else list(node.outputs)

        return append

    def constant(self, value: Any, dtype: Any = np.int64) -> ir.Value:
        """Give a constant tensor."""
        array = np.asarray(value, dtype)
        if self._on_constant is not None:
            return self._on_constant(array)
        output: ir.Value = self.Constant(value=ir.tensor(array))
        return output

    def attribute(self, name: str, kind: str) -> ir.Value:
        """Give an attribute of the enclosing function as a tensor; ``kind`` is ``int``, ``ints`` or ``float``."""
        types = {"int": ir.AttributeType.INT, "ints": ir.AttributeType.INTS, "float": ir.AttributeType.FLOAT}
        reference = ir.RefAttr(f"value_{kind}", name, types[kind])
        node = ir.Node("", "Constant", [], [reference])
        self.nodes.append(node)
        return node.outputs[0]
