"""Faults in reading checkpoints and images: packing, names, defaults, recipes, pixels."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_HUGGING_FACE = planted("hugging-face", "natdeploy/checkpoints/huggingface.py", (
    (tests.HUGGING_FACE,),
    {
        "query-and-key-swapped": ('("query", "key", "value")', '("key", "query", "value")'),
        "key-and-value-swapped": ('("query", "key", "value")', '("query", "value", "key")'),
        "layer-scales-swapped": ('attention_scale", tensor[0]), (f"{block}.mlp_scale", tensor[1])',
                                 'attention_scale", tensor[1]), (f"{block}.mlp_scale", tensor[0])'),
        "nat-takes-dilations": ("if dilated else tuple(", "if True else tuple("),
        "default-mlp-ratio": ('"mlp_ratio": 3.0,', '"mlp_ratio": 4.0,'),
        "default-eps": ('"layer_norm_eps": 1e-5,', '"layer_norm_eps": 1e-12,'),
        "eps-ignored": ('fields.number("layer_norm_eps")', 'fields.number("layer_norm_eps") * 0 + 1e-5'),
        "activation-ignored": ('fields.text("hidden_act")', 'fields.text("hidden_act") and "gelu"'),
    },
))  # fmt: skip

_ORIGINAL = planted("original", "natdeploy/checkpoints/original.py", (
    (tests.ORIGINAL,),
    {
        "isotropic-dilations-start-with-the-largest": ("dilation if i % 2 else 1", "1 if i % 2 else dilation"),
        "isotropic-default-dilation": ('"dilation": 2,', '"dilation": 1,'),
        "layer-scale-of-zero-is-none": ("isinstance(scale, int | float) and not isinstance(scale, bool)",
                                        "bool(scale)"),
        "default-mlp-ratio-of-dinat-s": ('"num_heads": [3, 6, 12, 24],\n        "mlp_ratio": 4.0,',
                                         '"num_heads": [3, 6, 12, 24],\n        "mlp_ratio": 3.0,'),
    },
))  # fmt: skip

_RENAMES = planted("renames", "natdeploy/checkpoints/renames.py", (
    (tests.GOLDEN_MODELS,),
    {
        "original-norms-swapped": ('".attention_norm."),\n    (".norm2.", ".mlp_norm.")',
                                   '".mlp_norm."),\n    (".norm2.", ".attention_norm.")'),
        "original-layer-scales-swapped": ('".attention_scale"),\n    (".gamma2", ".mlp_scale")',
                                          '".mlp_scale"),\n    (".gamma2", ".attention_scale")'),
        "hugging-face-norms-swapped": ('".attention_norm."),\n    (".layernorm_after.", ".mlp_norm.")',
                                       '".mlp_norm."),\n    (".layernorm_after.", ".attention_norm.")'),
    },
))  # fmt: skip

_RECIPES = planted("recipes", "natdeploy/checkpoints/preprocessor_config.py", (
    (tests.RECIPES,),
    {
        "filters-swapped": ('2: "bilinear",\n    3: "bicubic",', '2: "bicubic",\n    3: "bilinear",'),
        "mean-and-std-swapped": ("mean=mean,\n        std=std,", "mean=std,\n        std=mean,"),
        "rescale-ignored": ('255 * (fields.number("rescale_factor")', "255 * (1 / 255"),
    },
))  # fmt: skip

_PREPROCESSING = planted("preprocessing", "natdeploy/preprocessing.py", (
    (tests.PREPROCESSING,),
    {
        "channels-reversed": ("reshape(height, width, -1)", "reshape(height, width, -1)[..., ::-1]"),
        "mean-and-std-swapped": ("(recipe.value_range / 255, recipe.mean, recipe.std)",
                                 "(recipe.value_range / 255, recipe.std, recipe.mean)"),
        "value-range-ignored": ("(recipe.value_range / 255,", "(1 / 255,"),
        "height-and-width-swapped": ("std, -1, -3))", "std, -1, -3).swapaxes(-1, -2))"),
        "crop-axes-swapped": ("    height, width = recipe.crop_size", "    width, height = recipe.crop_size"),
        "crop-rounded-down": ("round((size - crop) / 2)", "(size - crop) // 2"),
        "border-rounded-up": ("-((crop - size) // 2)", "-((crop - size + 1) // 2)"),
        "longer-edge-resized": ("width * box_height <= height * box_width", "width * box_height >= height * box_width"),
        "height-rounded": ("int(box_width * height / width)", "round(box_width * height / width)"),
        "width-rounded": ("int(box_height * width / height)", "round(box_height * width / height)"),
        "resize-edge-rounded-up": ("math.floor(image_size / crop_fraction)", "math.ceil(image_size / crop_fraction)"),
        "resize-edge-of-the-longer-side": ("* min(height, width) // min(self", "* max(height, width) // min(self"),
        "other-filter": ("recipe.interpolation.upper()", '"BILINEAR"'),
        "orientation-of-a-file-ignored": ("else ImageOps.exif_transpose(image)", "else image.copy()"),
        "orientation-of-an-image-ignored": ("_eight_bit_image(ImageOps.exif_transpose(image)",
                                            "_eight_bit_image(image"),
        "sixteen-bits-clipped": ("(values >> 8)", "values.clip(0, 255)"),
    },
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_HUGGING_FACE, *_ORIGINAL, *_RENAMES, *_RECIPES, *_PREPROCESSING)
