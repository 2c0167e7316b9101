"""Faults between an image file and ``pixel_values``."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

FAULTS: tuple[Fault, ...] = planted(
    "preprocessing",
    "natdeploy/preprocessing.py",
    (tests.PREPROCESSING,),
    {
        "channels-reversed": ("normalised.transpose(2, 0, 1)", "normalised[..., ::-1].transpose(2, 0, 1)"),
        "mean-and-std-swapped": (
            "np.asarray(recipe.mean, np.float32)) / np.asarray(recipe.std,",
            "np.asarray(recipe.std, np.float32)) / np.asarray(recipe.mean,",
        ),
        "value-range-ignored": ("recipe.value_range / 255", "1 / 255"),
        "crop-axes-swapped": ("    height, width = recipe.crop_size", "    width, height = recipe.crop_size"),
        "crop-rounded-down": ("round((size - crop) / 2)", "(size - crop) // 2"),
        "border-rounded-up": ("-((crop - size) // 2)", "-((crop - size + 1) // 2)"),
        "longer-edge-resized": ("width * box_height <= height * box_width", "width * box_height >= height * box_width"),
        "longer-edge-rounded": ("int(box_width * height / width)", "round(box_width * height / width)"),
        "resize-edge-rounded-up": ("math.floor(image_size / crop_fraction)", "math.ceil(image_size / crop_fraction)"),
        "resize-edge-of-the-longer-side": ("* min(height, width) // min(self", "* max(height, width) // min(self"),
        "other-filter": ("recipe.interpolation.upper()", '"BILINEAR"'),
        "orientation-ignored": ("else ImageOps.exif_transpose(image)", "else image.copy()"),
        "sixteen-bits-clipped": ("(values >> 8)", "values.clip(0, 255)"),
    },
)
