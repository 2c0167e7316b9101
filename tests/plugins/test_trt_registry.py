"""One binary in the plugin registries of TensorRT 10.15, 10.16 and 11.4, whoever loads it first; no GPU is needed."""

import json

import pytest
from plugins.trt_build import attempt, plugin_library
from plugins.trt_full import VERSION as FULL
from plugins.trt_full import full_tensorrt
from side_environments import ROOT, python_with

from natdeploy.ops.spec import PACKED, SPLIT

SCRIPT = ROOT / "tests" / "plugins" / "trt_in_registry.py"
BOTH = sorted([PACKED, SPLIT])
FIELDS = {
    PACKED: ["num_heads", "kernel_size", "dilation", "stride", "is_causal", "scale"],
    SPLIT: ["kernel_size", "dilation", "stride", "is_causal", "scale"],
}

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("version", [FULL, "10.16.1.11", "11.4.0.106"])]


def _registry_session(version, mode, **environment):
    if version == FULL:
        bindings = "tensorrt_bindings"
        python = python_with(f"tensorrt-cu13-bindings=={version}", "numpy")
        environment["LD_LIBRARY_PATH"] = str(full_tensorrt())
    else:
        bindings = "tensorrt_lean_bindings"
        python = python_with(*(f"tensorrt-lean-cu13-{part}=={version}" for part in ("libs", "bindings")), "numpy")
    done = attempt(python, SCRIPT, bindings, plugin_library(), mode, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("mode", ["load", "dlopen_before", "dlopen_after"])
def test_load_list_create_and_unload(version, mode):
    seen, log = _registry_session(version, mode)
    assert seen["version"] == version
    # Loaded before any TensorRT, it looks for one by name: LD_LIBRARY_PATH leads it to the full one only.
    assert seen["at_first"] == (BOTH if (version, mode) == (FULL, "dlopen_before") else [])
    assert seen.get("after_dlopen", BOTH) == BOTH
    assert (seen["loaded"], seen["after_load"]) == (True, BOTH)
    assert (seen["loaded_twice"], seen["after_second_load"]) == (False, BOTH)
    assert seen["after_unload"] == []
    assert (seen["loaded_again"], seen["after_loading_again"]) == (True, BOTH)
    for op_type in BOTH:
        assert seen[op_type] == {
            "fields": FIELDS[op_type],
            "built": True,
            "built_without_scale": False,
            "restored": True,
            "restored_without_version": False,
            "restored_from_the_future": False,
        }
        reasons = ("scale is missing", "format_version is missing", "the plan holds format 2, this library reads 1")
        for sentence in reasons:
            assert f"natdeploy: {op_type}: createPlugin: {sentence}" in log


def test_registering_itself_can_be_switched_off(version):
    seen, _ = _registry_session(version, "dlopen_after", NATDEPLOY_SELF_REGISTER="0")
    assert seen["after_dlopen"] == []
    assert seen["after_load"] == BOTH
