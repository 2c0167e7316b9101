"""The tests that have to notice, by area. Narrow ones take seconds; all of them pass where no fault is planted."""

from __future__ import annotations

from faults.fault import Selection

_OPS, _MODELS, _EXPORT = ("tests/ops",), ("tests/models",), ("tests/onnx_files",)

REFERENCE = Selection("reference", ("tests/ops/test_reference.py",), _OPS)
TORCH_OP = Selection("torch op", ("tests/ops/test_torch_op.py", "-k", "not packed"), _OPS)
TORCH_OP_PACKED = Selection("packed torch op", ("tests/ops/test_torch_op.py", "-k", "packed_form"), _OPS)


def _op_form(name: str) -> Selection:
    tests = ("tests/ops/test_onnx_forms.py", "-k", f"onnxruntime_agrees and {name}")
    return Selection(name, tests, (*_OPS, "-k", name.partition("-")[0]))


# The op alone, in each form that a file can have it in. A portable file with free sizes holds the function inlined.
HYBRID_FIXED, HYBRID_FREE = _op_form("hybrid-fixed"), _op_form("hybrid-free")
PORTABLE_FIXED, PORTABLE_FREE = _op_form("portable-fixed"), _op_form("portable-free")
FUNCTION = (HYBRID_FREE, PORTABLE_FREE)
EVERY_FORM = (HYBRID_FIXED, *FUNCTION, PORTABLE_FIXED)

GOLDEN_MODELS = Selection("golden models", ("tests/models/test_golden_torch.py", "-k", "float64"), _MODELS)
LAYERS = Selection("layers", ("tests/models/test_layers.py",), _MODELS)
PLAIN_MODELS = Selection("plain models", ("tests/models/test_sizes.py",), _MODELS)
OUTPUTS = Selection("outputs", ("tests/models/test_outputs.py",), _MODELS)
VARIANTS = Selection("variants", ("tests/models/test_variants.py",), _MODELS)


def _exported_models(name: str) -> tuple[Selection, ...]:
    """One model with free sizes in both forms, at many sizes."""
    file, every = "tests/onnx_files/test_golden_export.py", f"many_sizes and {name} and not backbone"
    return tuple(
        Selection(f"{name} {form}", (file, "-k", f"{every} and {form}-1"), _EXPORT) for form in ("hybrid", "portable")
    )


# Windows larger than the map are padded in the first, partial patches and odd maps to be merged in the second.
EXPORTED_DINAT, EXPORTED_DINAT_S = _exported_models("hf_dinat"), _exported_models("shi_dinat_s_odd")


def _exported_graph(tests: str) -> Selection:
    return Selection(f"graph: {tests}", ("tests/onnx_files/test_export_graph.py", "-k", tests), _EXPORT)


EXPORTED_PROBES, EXPORTED_MIX = _exported_graph("every_probe and hybrid"), _exported_graph("mixes")
_GOLDEN_FILE = ("tests/onnx_files/test_golden_export.py", "-k", "golden_outputs and hybrid and hf_nat-False")
EXPORTED_GOLDEN = Selection("exported golden", _GOLDEN_FILE, _EXPORT)
TRACING = Selection("tracing", ("tests/onnx_files/test_tracing.py",), _EXPORT)
SHAPE_OPS = Selection("shape ops", ("tests/onnx_files/test_shape_ops.py",), _EXPORT)
REFUSED_OPS = Selection("refused ops", ("tests/ops/test_onnx_forms.py", "-k", "refused"), _OPS)
HALF_OPS = Selection("half precision", ("tests/ops/test_onnx_forms.py", "-k", "computed_in_float32"), _OPS)

_PIXELS = "tests/onnx_files/test_pixel_files.py"
PIXEL_VALUES = Selection("pixel values", (_PIXELS, "-k", "every_pixel_value"), (_PIXELS,))
PIXEL_LAYERS = Selection("first layers of pixels", (_PIXELS, "-k", "first_layers"), (_PIXELS,))
PIXEL_GRAPH = Selection("graph of pixels", (_PIXELS, "-k", "one_cast and fp32"), (_PIXELS,))
PIXEL_REFERENCE = Selection("reference of pixels", (_PIXELS, "-k", "reference"), (_PIXELS,))
INPUT_FORMATS = Selection("input formats", ("tests/test_input_format.py",), ("tests/engines/test_profiles.py", _PIXELS))
_VERIFIED = "tests/cli/test_pixel_files.py"
VERIFIED_PIXELS = Selection("verified pixels", (_VERIFIED, "-k", "another_normalisation"), (_VERIFIED,))

COMPAT = Selection("compat", ("tests/compat/test_natten_functions.py",), ("tests/compat",))

_CHECKPOINTS = ("tests/checkpoints",)
HUGGING_FACE = Selection("hugging face", ("tests/checkpoints/test_huggingface.py",), (*_CHECKPOINTS, *_MODELS))
_ORIGINAL_FILE = ("tests/checkpoints/test_original.py", "-k", "describes or default or scale_of_zero")
ORIGINAL = Selection("original", _ORIGINAL_FILE, (*_CHECKPOINTS, *_MODELS))
RECIPES = Selection("recipes", ("tests/checkpoints/test_preprocessor_config.py",), _CHECKPOINTS)
PREPROCESSING = Selection("preprocessing", ("tests/test_preprocessing.py",), ("tests/test_preprocessing.py",))

COMPARISON = Selection("comparison", ("tests/verification/test_comparison.py",), ("tests/verification", "tests/cli"))
TWO_RUNNERS = Selection("two runners", ("tests/verification/test_two_runners.py",), COMPARISON.wider)

_PRECISION = ("tests/precision",)
PRECISION_POLICY = Selection("precision policy", ("tests/precision/test_policy.py",), _PRECISION)
PRECISION_WEIGHTS = Selection("precision weights", ("tests/precision/test_weights.py",), _PRECISION)
_TYPED = "tests/precision/test_convert.py"
_OF_OTHERS = "casts or others or named or moved or twice or take or once or beyond or constant or refused"
PRECISION_SMALL = Selection("precision of small graphs", (_TYPED, "-k", _OF_OTHERS), _PRECISION)
PRECISION_FILES = Selection("precision of files", (_TYPED, "-k", "(hf_nat and fixed) or function"), _PRECISION)
PRECISION_FREE = Selection("precision of free sizes", (_TYPED, "-k", "hf_nat and free and portable"), _PRECISION)
PRECISION_CHECK = Selection("precision check", ("tests/precision/test_check.py",), _PRECISION)
_CLI = ("tests/cli/test_convert.py", "-k", "agrees_with_its_checkpoint or nan_in_float32")
PRECISION_CLI = Selection("precision on the command line", _CLI, _PRECISION)

_ENGINES = ("tests/engines", "tests/cli/test_plans.py", "tests/cli/test_plans_refused.py", "tests/runners")
ENGINE_RUNNER = Selection("runner of plans", ("tests/runners/test_tensorrt_runner.py",), _ENGINES)
_REFUSED = "not real and not machine_as_it_is"
PLANS_REFUSED = Selection("refused plans", ("tests/cli/test_plans_refused.py", "-k", _REFUSED), _ENGINES)
ENGINE_BUILDER = Selection("settings of engines", ("tests/engines/test_network.py",), _ENGINES)
