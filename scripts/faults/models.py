"""Faults in the models: padding and cropping, norms, activations, outputs, published variants."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_ATTENTION = planted("attention-layer", "natdeploy/models/attention.py", (
    (tests.GOLDEN_MODELS, tests.PLAIN_MODELS),
    {
        "padded-after-qkv": (
            "self.qkv(padded)", "pad_to_extents(self.qkv(x), neighborhood.window_extents, self.smallest_map)"
        ),
        "crop-missing": ("attended if padded is x else crop_like(attended, x)", "attended"),
        "scale-of-the-width": ("(dim // num_heads) ** -0.5", "dim**-0.5"),
        "scale-missing": ("(dim // num_heads) ** -0.5", "1.0"),
        "dilation-dropped": ("(dilation,) * 2", "(1,) * 2"),
    },
))  # fmt: skip

_SIZES = planted("sizes", "natdeploy/models/sizes.py", (
    (tests.GOLDEN_MODELS, tests.PLAIN_MODELS),
    {
        "padded-at-top-and-left": ("(0, 0, 0, right, 0, bottom)", "(0, 0, right, 0, bottom, 0)"),
        "cropped-at-top-and-left": ("[:, : like.shape[1], : like.shape[2]]", "[:, -like.shape[1] :, -like.shape[2] :]"),
        "multiple-at-the-start": ("amounts += [0, -size % multiple]", "amounts += [-size % multiple, 0]"),
        "multiple-axes-swapped": ("in reversed(x.shape[first_axis : first_axis + 2])",
                                  "in tuple(x.shape[first_axis : first_axis + 2])"),
    },
), (
    (tests.PLAIN_MODELS,),  # no golden map is smaller than its window along one axis alone
    {
        "padded-axes-swapped": ("(0, 0, 0, right, 0, bottom)", "(0, 0, 0, bottom, 0, right)"),
        "one-small-axis-not-padded": ("if all(size >= extent for", "if any(size >= extent for"),
    },
), (
    tests.EXPORTED_DINAT,
    {"free-sizes-not-padded": ("isinstance(size, int) else low", "isinstance(size, int) else 10**6")},
))  # fmt: skip

_LAYERS = planted("layers", "natdeploy/models/layers.py", (
    (tests.GOLDEN_MODELS, tests.PLAIN_MODELS),
    {
        "gelu-by-tanh": ('"gelu": nn.GELU,', '"gelu": partial(nn.GELU, approximate="tanh"),'),
        "attention-scale-of-the-mlp": ("self.attention_scale * branch", "self.mlp_scale * branch"),
        "attention-scale-dropped": ("branch if self.attention_scale is None else self.attention_scale * branch",
                                    "branch"),
        "mlp-scale-dropped": ("branch if self.mlp_scale is None else self.mlp_scale * branch", "branch"),
        "attention-norm-of-the-mlp": ("self.attention(self.attention_norm(x)", "self.attention(self.mlp_norm(x)"),
        "mlp-norm-of-the-attention": ("self.mlp(self.mlp_norm(x))", "self.mlp(self.attention_norm(x))"),
        "patch-merging-row-major": ("cut.permute(0, 1, 3, 4, 2, 5)", "cut.permute(0, 1, 3, 2, 4, 5)"),
        "dilations-reversed": ("for d in config.dilations[index]", "for d in config.dilations[index][::-1]"),
    },
), (
    (tests.PLAIN_MODELS,),  # the golden models have PyTorch's epsilon everywhere
    {
        "attention-norm-default-eps": ("self.attention_norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)",
                                       "self.attention_norm = nn.LayerNorm(dim)"),
        "mlp-norm-default-eps": ("self.mlp_norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)",
                                 "self.mlp_norm = nn.LayerNorm(dim)"),
    },
), (
    (tests.LAYERS,),
    {
        "mlp-width-rounded": ("int(dim * config.mlp_ratio)", "round(dim * config.mlp_ratio)"),
        "gelu-new-by-erf": ('"gelu_new": partial(nn.GELU, approximate="tanh")', '"gelu_new": nn.GELU'),
        "quick-gelu-constant": ("torch.sigmoid(1.702 * x)", "torch.sigmoid(x)"),
    },
))  # fmt: skip

_HIERARCHICAL = planted("hierarchical", "natdeploy/models/hierarchical.py", (
    (tests.GOLDEN_MODELS, tests.PLAIN_MODELS),
    {
        "feature-map-after-downsampling": ('f"stage{i + 1}", before)', 'f"stage{i + 1}", x)'),
        "feature-map-without-norm": ("self.feature_norms[name](x).permute", "x.permute"),
        "hidden-state-before-downsampling": ("wanted, i + 1, x)", "wanted, i + 1, before)"),
        "pooled-before-the-norm": ('probe("norm", self.norm(x)).mean((1, 2))',
                                   'probe("norm", self.norm(x.mean((1, 2))))'),
    },
), (
    (tests.GOLDEN_MODELS, tests.OUTPUTS),
    {"reshaped-axes-swapped": ("found[output] = x.permute(0, 3, 1, 2)", "found[output] = x.permute(0, 3, 2, 1)")},
), (
    (tests.PLAIN_MODELS,),
    {
        "final-norm-default-eps": ("config.num_features, eps=config.layer_norm_eps)", "config.num_features)"),
        "feature-norm-with-the-blocks-eps": ("nn.LayerNorm(config.feature_dim(name))",
                                             "nn.LayerNorm(config.feature_dim(name), eps=config.layer_norm_eps)"),
        "last-feature-map-through-the-final-norm": (
            "self.feature_norms[name](x)", '(self.norm if name[-1] == "3" else self.feature_norms[name])(x)'
        ),
        "stem-with-the-blocks-eps": ("self.stages = nn.ModuleList(", "self.stem.norm.eps = config.layer_norm_eps\n"
                                     "        self.stages = nn.ModuleList("),
        "downsampler-with-the-blocks-eps": ("before, x = stage(x, probe)", "stage.downsample and setattr("
                                            "stage.downsample.norm, 'eps', self.config.layer_norm_eps)\n"
                                            "            before, x = stage(x, probe)"),
    },
))  # fmt: skip

_VARIANTS = planted("variants", "natdeploy/models/variants.py", (
    (tests.VARIANTS,),
    {
        "dilations-start-with-the-largest": ("d if i % 2 else 1", "1 if i % 2 else d"),
        "nat-small-without-layer-scale": ('"nat", _TINY, 96, 2.0, layer_scale=True)', '"nat", _TINY, 96, 2.0)'),
        "dinat-small-with-layer-scale": ('"dinat", _TINY, 96, 2.0, _AT_224)',
                                         '"dinat", _TINY, 96, 2.0, _AT_224, layer_scale=True)'),
        "384-dilations-of-224": ("_AT_384 = (13, 6, 3, 1)", "_AT_384 = (8, 4, 2, 1)"),
    },
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_ATTENTION, *_SIZES, *_LAYERS, *_HIERARCHICAL, *_VARIANTS)
