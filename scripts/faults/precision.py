"""Faults in half precision: what stays float32, types of the graph, weights out of range, the run before writing."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_POLICY = planted("precision", "natdeploy/precision/policy.py", (
    (tests.PRECISION_POLICY,),
    {
        "exponential-in-half": ('        "Div",\n', '        "Div",\n        "Exp",\n'),
        "scores-in-half": ('if node.op_type == "MatMul" and all(', 'if node.op_type == "BatchMatMul" and all('),
        "classifier-without-its-weights": ("        yield node\n        if node.op_type not in _WEIGHTED",
                                           "        if node.op_type in _WEIGHTED:\n            continue\n"
                                           "        yield node\n        if node.op_type not in _WEIGHTED"),
        "classifier-beyond-its-weights": ("if node.op_type not in _WEIGHTED and not node.op_type.startswith",
                                          "if not node.op_type.startswith"),
        "maps-taken-for-logits": ("len(o.shape) <= 2", "len(o.shape) <= 3"),
        "one-use-in-attention-is-enough": ("inside = all(", "inside = any("),
        "attention-does-not-end-at-probes": (" and not any(output.name in names for output in node.outputs)", ""),
        "pixels-normalised-in-half": ("kept |= dict.fromkeys(_normalisation(model.graph, computed, probes), "
                                      "NORMALISATION)", "_normalisation(model.graph, computed, probes)"),
        "shapes-count-as-numbers": ('if node.op_type not in ("Shape", "Size") and any(', "if any("),
        "layer-of-the-probe-before": ("layers: dict[ir.Node, str] = {}\n    for node in reversed(list(model.graph)):",
                                      "layers: dict[ir.Node, str] = {}\n    for node in list(model.graph):"),
        "layers-by-the-first-part-of-a-name": ('or name.rpartition(".")[0] in layers', 'or name[:3] in str(layers)'),
        "unknown-pattern-passes": ("if pattern not in used]", "if False]"),
        "patterns-fit-their-beginnings": ("fnmatchcase(name, p)", 'fnmatchcase(name, p + "*")'),
    },
))  # fmt: skip

_RETYPE = planted("precision", "natdeploy/precision/retype.py", (
    (tests.PRECISION_FILES,),
    {"bias-table-in-half": ("if node.op_type == SPLIT else [0]", "if node.op_type == SPLIT else [0, 1]")},
), (
    (tests.PRECISION_SMALL,),
    {
        "outputs-in-half": ("if output.dtype == self._dtype:\n                self._graph.outputs[i]",
                            "if False:\n                self._graph.outputs[i]"),
        "a-cast-for-every-user": ("if value not in self._twins:", "if True:"),
        "float32-users-of-a-weight-forgotten": ("half.producer() is None and not original.consumers() and not",
                                                "half.producer() is None and not"),
        "new-names-take-old-ones": ("while name in self._names:", "while not name:"),
        "float32-work-on-half-tensors": ("value.dtype != wanted:", "value.dtype != wanted == self._dtype:"),
        "casts-cast": ("if node.domain == \"\" and node.op_type in TYPELESS:", "if not node.inputs:"),
    },
), (
    (tests.PRECISION_CHECK,),
    {"types-shared-with-copies": ("output.type = ir.TensorType(wanted)", "output.dtype = wanted")},
))  # fmt: skip

_CONVERT = planted("precision", "natdeploy/precision/convert.py", (
    (tests.PRECISION_FILES,),
    {
        "bfloat16-in-an-opset-without-it": ("if dtype == ir.DataType.BFLOAT16:\n        _raise",
                                            "if False:\n        _raise"),
        "function-in-another-opset": ("*(f.opset_imports for f in model.functions.values())", "*()"),
        "metadata-say-float32": ("replace(metadata, precision=report.for_metadata())", "replace(metadata)"),
    },
), (
    (tests.PRECISION_FREE,),
    {"cast-like-taken-for-float32": ("return node.inputs[1] in halves", "return False")},
), (
    (tests.PRECISION_SMALL,),
    {
        "weights-become-infinite": ("for node in nodes_of_weights(model, too_large)})",
                                    "for node in nodes_of_weights(model, ())})"),
        "named-layers-in-half": ("    kept.update(named)\n", ""),
        "moved-in-half-for-one-of-two": ("return all(value in halves for value in floats)",
                                         "return any(value in halves for value in floats)"),
        "converted-twice": ("in types & set(HALVES.values())", "in types & set()"),
        "control-flow-passes": ("if any(_subgraphs(node))}", "if False}"),
        "changed-operators-pass": ('frozenset({"GroupNormalization"})', "frozenset()"),
    },
))  # fmt: skip

_WEIGHTS = planted("precision", "natdeploy/precision/weights.py", (
    (tests.PRECISION_WEIGHTS,),
    {
        "subnormals-not-seen": (".smallest_normal)", ".smallest_subnormal)"),
        "zeros-taken-for-lost": ("((magnitude == 0) & (array != 0))", "(magnitude == 0)"),
        "infinities-taken-for-overflow": (", where=np.isfinite(array), out=np.zeros_like(array))", ")"),
        "signs-decide-overflow": ("float(np.abs(array, where=np.isfinite(array), out=",
                                  "float(np.add(array, 0, where=np.isfinite(array), out="),
        "largest-of-float16-for-all": ("float(_limits(dtype.numpy()).max)", "65504.0"),
    },
))  # fmt: skip

_CHECK = planted("precision", "natdeploy/precision/check.py", (
    (tests.PRECISION_CHECK,),
    {
        "overflow-passes": ("if not m <= limit})", "if m > 1e6})"),
        "tensors-that-are-cast-not-looked-at": ("for value in (*node.inputs, *node.outputs) if",
                                                "for value in node.outputs if"),
        "float32-outputs-counted": ("for name in _stored_half(node, dtype)}",
                                    "for name in [o.name for o in node.outputs]}"),
        "plugin-file-gets-a-function": ("copy = model.clone()", "copy = model"),
        "no-number-passes": ('if worst.failure is not None and worst.verdict != "numbers":', "if False:"),
    },
), (
    (tests.PRECISION_CLI,),
    {"nan-taken-for-overflow": ("if not np.isfinite(list(by_layer.values())).all():", "if False:")},
))  # fmt: skip

_VERIFY = planted("precision", "natdeploy/verification/artifact.py", (
    (tests.PRECISION_CLI,),
    {"float32s-tolerance-for-all": ('tolerance_for(metadata.precision["weights"])', 'tolerance_for("float32")')},
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_POLICY, *_RETYPE, *_CONVERT, *_WEIGHTS, *_CHECK, *_VERIFY)
