"""Faults in reading checkpoints: packing, names, defaults, recipes."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_HUGGING_FACE = planted(
    "hugging-face",
    "natdeploy/checkpoints/huggingface.py",
    (tests.HUGGING_FACE,),
    {
        "query-and-key-swapped": ('("query", "key", "value")', '("key", "query", "value")'),
        "key-and-value-swapped": ('("query", "key", "value")', '("query", "value", "key")'),
        "layer-scales-swapped": ('attention_scale", tensor[0]), (f"{block}.mlp_scale", tensor[1])',
                                 'attention_scale", tensor[1]), (f"{block}.mlp_scale", tensor[0])'),
        "nat-takes-dilations": ('if dilated else tuple(', 'if True else tuple('),
        "default-mlp-ratio": ('"mlp_ratio": 3.0,', '"mlp_ratio": 4.0,'),
        "default-eps": ('"layer_norm_eps": 1e-5,', '"layer_norm_eps": 1e-12,'),
        "eps-ignored": ('fields.number("layer_norm_eps")', "1e-5"),
        "activation-ignored": ('fields.text("hidden_act")', '"gelu"'),
    },
)  # fmt: skip

_ORIGINAL = planted(
    "original",
    "natdeploy/checkpoints/original.py",
    (tests.ORIGINAL,),
    {
        "isotropic-dilations-start-with-the-largest": ("dilation if i % 2 else 1", "1 if i % 2 else dilation"),
        "isotropic-default-dilation": ('"dilation": 2,', '"dilation": 1,'),
        "layer-scale-of-zero-is-none": ("isinstance(scale, int | float) and not isinstance(scale, bool)",
                                        "bool(scale)"),
        "default-mlp-ratio-of-dinat-s": ('"num_heads": [3, 6, 12, 24],\n        "mlp_ratio": 4.0,',
                                         '"num_heads": [3, 6, 12, 24],\n        "mlp_ratio": 3.0,'),
    },
)  # fmt: skip

_RENAMES = planted(
    "renames",
    "natdeploy/checkpoints/renames.py",
    (tests.GOLDEN_MODELS,),
    {
        "original-norms-swapped": ('".attention_norm."),\n    (".norm2.", ".mlp_norm.")',
                                   '".mlp_norm."),\n    (".norm2.", ".attention_norm.")'),
        "original-layer-scales-swapped": ('".attention_scale"),\n    (".gamma2", ".mlp_scale")',
                                          '".mlp_scale"),\n    (".gamma2", ".attention_scale")'),
        "hugging-face-norms-swapped": ('".attention_norm."),\n    (".layernorm_after.", ".mlp_norm.")',
                                       '".mlp_norm."),\n    (".layernorm_after.", ".attention_norm.")'),
    },
)  # fmt: skip

_RECIPES = planted(
    "recipes",
    "natdeploy/checkpoints/preprocessor_config.py",
    (tests.RECIPES,),
    {
        "filters-swapped": ('2: "bilinear",\n    3: "bicubic",', '2: "bicubic",\n    3: "bilinear",'),
        "mean-and-std-swapped": ("mean=mean,\n        std=std,", "mean=std,\n        std=mean,"),
        "rescale-ignored": ('255 * (fields.number("rescale_factor")', "255 * (1 / 255"),
    },
)

FAULTS: tuple[Fault, ...] = (*_HUGGING_FACE, *_ORIGINAL, *_RENAMES, *_RECIPES)
