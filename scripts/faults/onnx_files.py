"""Faults on the way from a model to an ONNX file: tracing, computed shapes, probes, forms."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_TRACING = planted("tracing", "natdeploy/onnx_files/tracing.py", (
    tests.EXPORTED_DINAT,
    {
        "bias-dropped": ("[qkv] if rpb is None else [qkv, rpb]", "[qkv]"),
        "dilation-and-stride-swapped": ("Neighborhood.of(kernel_size, scale, dilation, stride,",
                                        "Neighborhood.of(kernel_size, scale, stride, dilation,"),
        "crop-axes-swapped": ("(x.shape[0], *like.shape[1:3], x.shape[3]))",
                              "(x.shape[0], like.shape[2], like.shape[1], x.shape[3]))"),
    },
), (
    (tests.TRACING,),
    {"query-and-key-swapped": ("[query, key, value] if rpb is None else [query, key,",
                               "[key, query, value] if rpb is None else [key, query,")},
), (
    (tests.EXPORTED_GOLDEN,),
    {"output-names-reversed": ("output_names=list(outputs)", "output_names=list(outputs)[::-1]")},
))  # fmt: skip

_SHAPE_OPS = planted("shape-ops", "natdeploy/onnx_files/shape_ops.py", (
    (tests.SHAPE_OPS, *tests.EXPORTED_DINAT),
    {
        "padded-at-the-start": ("zeros, op.constant([0] * before), amounts,",
                                "op.constant([0] * before), amounts, zeros,"),
        "crop-axes-swapped": ("end=3), op.constant([1, 2]))", "end=3), op.constant([2, 1]))"),
    },
), (
    (tests.SHAPE_OPS, *tests.EXPORTED_DINAT_S),
    {"size-not-negated": ("op.Neg(op.Shape(x, start=first, end=first + 2))",
                          "op.Shape(x, start=first, end=first + 2)")},
), (
    (tests.SHAPE_OPS,),
    {
        "larger-maps-cropped": ("op.Max(op.Sub(op.constant(extents), op.Shape(x, start=1, end=3)), op.constant([0]))",
                                "op.Sub(op.constant(extents), op.Shape(x, start=1, end=3))"),
        "remainder-as-in-c": ("end=first + 2)), multiple)", "end=first + 2)), multiple, fmod=1)"),
        "extents-swapped": ("op.constant(extents)", "op.constant(extents[::-1])"),
    },
))  # fmt: skip

_PROBES = planted("probes", "natdeploy/onnx_files/probes.py", (
    (tests.EXPORTED_PROBES,),
    {
        "output-loses-its-name": ("if marked in graph.outputs and marked.name != name:", "if False:"),
        "probe-keeps-the-exporters-name": ("if source.name not in taken or source.name == name:", "if False:"),
    },
))  # fmt: skip

_FORMS = planted("forms", "natdeploy/onnx_files/forms.py", (
    (tests.REFUSED_OPS,),
    {"stride-and-causality-computed-wrongly": ("_check_supported(nodes, form, source)\n    if", "if")},
), (
    (tests.HYBRID_FREE,),
    {"function-of-another-rank": ("*kinds.pop())", "2, kinds.pop()[1])")},
), (
    (tests.HALF_OPS,),
    {"half-precision-taken-for-single": ("attention.dtype", "ir.DataType.FLOAT")},
), (
    (tests.EXPORTED_MIX,),
    {"one-function-for-nodes-with-and-without-bias": ("if len(kinds) > 1:", "if len(kinds) > 2:")},
))  # fmt: skip

_NODES = planted("attention-nodes", "natdeploy/onnx_files/attention_nodes.py", (
    (tests.PORTABLE_FIXED,),  # the other forms leave the attributes to the function
    {
        "dilation-and-stride-swapped": ('attributes["dilation"].as_ints(),\n        attributes["stride"].as_ints(),',
                                        'attributes["stride"].as_ints(),\n        attributes["dilation"].as_ints(),'),
        "extents-swapped": ("tuple(dims[1 : 1 + neighborhood.rank])", "tuple(dims[1 : 1 + neighborhood.rank][::-1])"),
        "heads-and-channels-swapped": ("(dims[-2], dims[-1])", "(dims[-1], dims[-2])"),
    },
))  # fmt: skip

_NORMALISATION = planted("normalisation", "natdeploy/onnx_files/normalisation.py", (
    (tests.PIXEL_VALUES,),
    {
        "mean-and-std-swapped": ("np.array(recipe.mean), np.array(recipe.std)",
                                 "np.array(recipe.std), np.array(recipe.mean)"),
        "scale-missing": ("(pixels.to(torch.float32) - self.mean) * self.scale",
                          "pixels.to(torch.float32) / 255 - self.mean / 255"),
        "value-range-ignored": ("recipe.value_range / 255 / std", "1 / 255 / std"),
        "mean-not-in-grey-levels": ("mean * 255 / recipe.value_range", "mean * 255"),
        "mean-after-the-scale": ("(pixels.to(torch.float32) - self.mean) * self.scale",
                                 "pixels.to(torch.float32) * self.scale - self.mean"),
    },
), (
    (tests.PIXEL_LAYERS,),
    {
        "channels-reversed": ("pixels.to(torch.float32) - ", "pixels.flip(-1).to(torch.float32) - "),
        "height-and-width-swapped": ("permute(0, 3, 1, 2)", "permute(0, 3, 2, 1).reshape(normalised.shape[0], "
                                     "normalised.shape[3], normalised.shape[1], normalised.shape[2])"),
    },
), (
    (tests.PIXEL_GRAPH,),
    {"calculated-before-the-cast": ("pixels.to(torch.float32)", "pixels.flip(-1).flip(-1).to(torch.float32)")},
))  # fmt: skip

_INPUT_FORMAT = planted("input-format", "natdeploy/input_format.py", (
    (tests.INPUT_FORMATS,),
    {
        "axes-of-the-other": ('InputFormat("uint8", "NHWC")', 'InputFormat("uint8", "NCHW")'),
        "height-and-width-swapped": ('"H": height, "W": width}', '"H": width, "W": height}'),
        "sizes-by-the-order-of-the-other": ('for axis in "NHW")', 'for axis in "NWH")'),
    },
))  # fmt: skip

_NORMALISING_RUNNER = planted("normalising-runner", "natdeploy/runners/normalising_runner.py", (
    (tests.PIXEL_REFERENCE,),
    {
        "rounded-to-float16": ('self._recipe, "float64")', 'self._recipe, "float16").astype("float64")'),
        "inner-tensor-of-the-pixels": ("{NORMALISED: pixels}", '{NORMALISED: inputs["pixel_values"]}'),
    },
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_TRACING, *_SHAPE_OPS, *_PROBES, *_FORMS, *_NODES, *_NORMALISATION, *_INPUT_FORMAT,
                             *_NORMALISING_RUNNER)  # fmt: skip
