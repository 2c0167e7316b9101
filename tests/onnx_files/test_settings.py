"""What an export can be asked for, and what could never run."""

import math
from dataclasses import replace

import pytest

from natdeploy.errors import ContradictionError, NatdeployError
from natdeploy.models.variants import VARIANTS
from natdeploy.onnx_files import memory, settings
from natdeploy.onnx_files.memory import bytes_at_run_time
from natdeploy.onnx_files.settings import ExportSettings
from natdeploy.ops.onnx_portable import _axis_tables
from natdeploy.size_limits import SizeLimits

MINI = VARIANTS["nat_mini"].config
ISOTROPIC = next(variant.config for variant in VARIANTS.values() if variant.config.layout == "isotropic")


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("form", ["hybrid", "plugin"])
def test_every_variant_is_exported_at_its_own_size_by_default(name, form):
    config = VARIANTS[name].config
    size = (config.image_size, config.image_size)
    assert ExportSettings(form=form).size_limits(config) == SizeLimits(size, size)


def test_sizes_and_batches():
    assert ExportSettings(image_size=(64, 96), batch=2).size_limits(MINI) == SizeLimits((64, 96), (64, 96), 2)
    assert ExportSettings(dynamic_size=(32, 512)).size_limits(MINI) == SizeLimits((32, 32), (512, 512))
    limits = ExportSettings(image_size=(64, 96), input_format="uint8-nhwc").size_limits(MINI)
    assert limits == SizeLimits((64, 96), (64, 96), input_format="uint8-nhwc")
    own = (ISOTROPIC.image_size,) * 2
    assert ExportSettings(image_size=own).size_limits(ISOTROPIC) == SizeLimits(own, own)


def test_all_problems_are_listed_together():
    with pytest.raises(NatdeployError) as raised:
        ExportSettings(form="best", batch=0, image_size=(16, 20000), input_format="nhwc").size_limits(ISOTROPIC)
    parts = ("form 'best'", "batch 0", "16x20000 is below 32", "beyond 16384", "fixed map of 14x14 patches")
    for part in (*parts, "input format 'nhwc' is none of float32-nchw, uint8-nhwc"):
        assert part in str(raised.value)


def test_a_contradiction_is_a_wrong_usage():
    with pytest.raises(ContradictionError) as raised:
        ExportSettings(image_size=(64, 64), dynamic_size=(64, 128)).size_limits(MINI)
    assert raised.value.exit_status == 2


def with_memory(monkeypatch, size):
    monkeypatch.setattr(settings, "memory_of_this_machine", lambda: size)


def test_what_cannot_run_is_refused(monkeypatch):
    with_memory(monkeypatch, 16 * 2**30)
    with pytest.raises(NatdeployError) as raised:
        ExportSettings(image_size=(8192, 8192)).size_limits(MINI)
    message = str(raised.value)
    assert "images of 8192x8192 could not run" in message
    assert "Got: at least 43 GiB" in message
    assert "Needed: at most the 16 GiB" in message
    assert "--form plugin" in message
    assert ExportSettings(image_size=(8192, 8192), form="plugin").size_limits(MINI)
    assert ExportSettings(dynamic_size=(64, 8192)).size_limits(MINI)  # it may never see an image that large
    with pytest.raises(NatdeployError, match="batch 9000 could not run"):
        ExportSettings(batch=9000).size_limits(MINI)
    with_memory(monkeypatch, None)  # the system does not say
    assert ExportSettings(image_size=(8192, 8192)).size_limits(MINI)


def test_this_machine_has_memory():
    assert 2**28 < memory.memory_of_this_machine() < 2**48


# Above the weights, in MiB: what ONNX Runtime 1.32 took for the portable form of nat_mini, batch 1, one thread.
@pytest.mark.parametrize("size, measured", [(512, 241), (1024, 886), (2048, 3530)])
def test_the_bound_lies_below_what_was_measured_but_not_far(size, measured):
    bound = bytes_at_run_time(MINI, "portable", (size, size), 1) / 2**20
    assert 0.6 * measured < bound < measured


def test_the_bound_grows_with_everything():
    least = bytes_at_run_time(MINI, "hybrid", (64, 96), 1)
    assert bytes_at_run_time(MINI, "hybrid", (96, 64), 1) == least
    assert bytes_at_run_time(MINI, "hybrid", (64, 128), 1) > least
    assert bytes_at_run_time(MINI, "hybrid", (64, 96), 2) > least
    assert bytes_at_run_time(MINI, "plugin", (64, 96), 1) < least
    assert bytes_at_run_time(replace(MINI, kernel_size=9), "hybrid", (64, 96), 1) > least
    assert bytes_at_run_time(replace(MINI, num_channels=30), "hybrid", (64, 96), 1) > least


@pytest.mark.parametrize(
    "extent, kernel, dilation", [(56, 7, 1), (57, 7, 8), (7, 7, 1), (9, 3, 2), (30, 13, 2), (41, 5, 3)]
)
def test_tiles_are_counted_as_the_portable_form_cuts_them(extent, kernel, dilation):
    row = _axis_tables(extent, kernel, dilation).row
    keys, pairs = memory._tiled((extent, 1), kernel, dilation)
    one_keys, one_pairs = memory._tiled((1, 1), kernel, dilation)
    assert (keys // math.isqrt(one_keys), pairs // math.isqrt(one_pairs)) == (row.shape[0] * row.shape[2], row.size)
