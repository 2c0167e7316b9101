"""What an export can be asked for, checked before anything is built."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from natdeploy.errors import ContradictionError, NatdeployError
from natdeploy.input_format import INPUT_FORMATS, InputFormatName
from natdeploy.models.config import MIN_IMAGE_SIZE, ModelConfig
from natdeploy.models.outputs import checked_outputs
from natdeploy.onnx_files.memory import bytes_at_run_time, memory_of_this_machine
from natdeploy.ops.support import FORMS
from natdeploy.preprocessing import Preprocessing
from natdeploy.size_limits import SizeLimits

# A traced image needs a few hundred bytes per pixel at run time; beyond this it is a typing error.
MAX_IMAGE_SIZE = 16384

PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class ExportSettings:
    """How to export.

    Args:
        form: ``hybrid``, ``plugin`` or ``portable``.
        image_size: Fixed (height, width); the checkpoint's own size where None.
        dynamic_size: (smallest, largest) height and width; excludes ``image_size``.
        batch: Fixed batch, or None for a free one.
        outputs: Names; the default ones where empty.
        external_data: Weights into a file of their own.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        keep_fp32: In a half precision, shell patterns of what stays float32 (``precision/policy.py``).
        input_format: ``float32-nchw``, or ``uint8-nhwc``, which takes normalisation and layout into the graph.
    """

    form: str = "hybrid"
    image_size: tuple[int, int] | None = None
    dynamic_size: tuple[int, int] | None = None
    batch: int | None = None
    outputs: tuple[str, ...] = ()
    external_data: bool = False
    precision: str = "fp32"
    keep_fp32: tuple[str, ...] = ()
    input_format: InputFormatName = "float32-nchw"

    def size_limits(self, config: ModelConfig) -> SizeLimits:
        """Give the sizes that the file will accept.

        Raises:
            ContradictionError: If the settings contradict themselves.
            NatdeployError: With everything that is wrong with these settings for this model, or if no run of such a
                file would fit into this machine's memory.
        """
        if self.image_size and self.dynamic_size:
            raise ContradictionError(
                "cannot export with these settings", got="--image-size and --dynamic-size exclude each other"
            )
        if self.keep_fp32 and self.precision == "fp32":
            raise ContradictionError(
                "cannot export with these settings", got="--keep-fp32 is for --precision fp16 and bf16"
            )
        if problems := self._problems(config):
            raise NatdeployError("cannot export with these settings", got="; ".join(problems))
        checked_outputs(config, self.outputs)
        limits = self._limits(config)
        self._check_memory(config, limits)
        return limits

    def recipe(self, preprocessing: Preprocessing, limits: SizeLimits) -> Preprocessing:
        """Give the recipe of the file from the checkpoint's.

        Raises:
            NatdeployError: If the file is to take pixels, and images cannot give the model's channels.
        """
        if (size := limits.nearest(preprocessing.crop_size)) != preprocessing.crop_size:
            preprocessing = preprocessing.at_size(*size)
        if self.input_format == "uint8-nhwc" and preprocessing.channel_order is None:
            raise NatdeployError(
                "cannot export a file that takes the pixels of images",
                got=f"a model of {len(preprocessing.mean)} channels, which no image has",
                needed="a model of 1 or 3 channels",
                next_step="Leave --input-format out: then the file takes arrays of numbers that you normalise",
            )
        return replace(preprocessing, input_format=self.input_format)

    def _limits(self, config: ModelConfig) -> SizeLimits:
        if self.dynamic_size is not None:
            low, high = self.dynamic_size
            return SizeLimits((low, low), (high, high), self.batch, input_format=self.input_format)
        size = self.image_size or (config.image_size, config.image_size)
        return SizeLimits(size, size, self.batch, input_format=self.input_format)

    def _check_memory(self, config: ModelConfig, limits: SizeLimits) -> None:
        """Refuse what cannot run; of free sizes and batches only the smallest must fit."""
        have = memory_of_this_machine()
        need = bytes_at_run_time(config, self.form, limits.minimum, limits.batch or 1)
        if have is not None and need > have:
            batch = f", batch {limits.batch}" if limits.batch else ""
            raise NatdeployError(
                f"a file for images of {limits.minimum[0]}x{limits.minimum[1]}{batch} could not run on this machine",
                got=f"at least {need / 2**30:.0f} GiB that one run needs",
                needed=f"at most the {have / 2**30:.0f} GiB of memory that there are",
                next_step="Use a smaller --image-size or --batch, or --form plugin, whose kernels need no tables",
            )

    def _problems(self, config: ModelConfig) -> list[str]:
        problems = []
        if self.form not in FORMS:
            problems.append(f"form '{self.form}' is none of {', '.join(FORMS)}")
        if self.precision not in PRECISIONS:
            problems.append(f"precision '{self.precision}' is none of {', '.join(PRECISIONS)}")
        if self.input_format not in INPUT_FORMATS:
            problems.append(f"input format '{self.input_format}' is none of {', '.join(INPUT_FORMATS)}")
        if self.batch is not None and self.batch < 1:
            problems.append(f"batch {self.batch} must be at least 1")
        sizes = self.dynamic_size or self.image_size or ()
        if any(size < MIN_IMAGE_SIZE for size in sizes):
            problems.append(f"image size {'x'.join(map(str, sizes))} is below {MIN_IMAGE_SIZE} pixels")
        if any(size > MAX_IMAGE_SIZE for size in sizes):
            problems.append(f"image size {'x'.join(map(str, sizes))} is beyond {MAX_IMAGE_SIZE} pixels")
        if self.dynamic_size and self.dynamic_size[0] > self.dynamic_size[1]:
            problems.append(f"--dynamic-size {self.dynamic_size[0]}:{self.dynamic_size[1]} ends before it begins")
        if config.layout == "isotropic":
            problems += self._isotropic_problems(config)
        return problems

    def _isotropic_problems(self, config: ModelConfig) -> list[str]:
        fixed = (config.image_size, config.image_size)
        if self.dynamic_size or (self.image_size and self.image_size != fixed):
            side = math.ceil(config.image_size / config.patch_size)
            return [
                f"{config.family} models have a fixed map of {side}x{side} patches, so only images of "
                f"{config.image_size}x{config.image_size}"
            ]
        return []
