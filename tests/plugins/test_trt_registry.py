"""One binary in the plugin registries of TensorRT 10.16 and 11.4 (lean runtimes), whoever loads it first."""

import json

import pytest
from plugins.trt_build import attempt, plugin_library
from side_environments import ROOT, python_with

BOTH = ["NeighborhoodAttention", "PackedNeighborhoodAttention"]
SCRIPT = ROOT / "tests" / "plugins" / "trt_in_registry.py"

pytestmark = pytest.mark.slow


def _registry_session(version, mode, **environment):
    packages = [f"tensorrt-lean-cu13-{part}=={version}" for part in ("libs", "bindings")]
    done = attempt(python_with(*packages, "numpy"), SCRIPT, plugin_library(), mode, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("mode", ["load", "dlopen_before", "dlopen_after"])
@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_load_list_create_and_unload(version, mode):
    seen, log = _registry_session(version, mode)
    assert seen["version"] == version
    assert seen["at_first"] == []
    assert seen.get("after_dlopen", BOTH) == BOTH
    assert (seen["loaded"], seen["after_load"]) == (True, BOTH)
    assert (seen["loaded_twice"], seen["after_second_load"]) == (False, BOTH)
    assert seen["after_unload"] == []
    assert seen["fields"] == ["num_heads", "kernel_size", "dilation", "stride", "is_causal", "scale"]
    assert (seen["built"], seen["restored"]) == (True, True)
    refused = ("built_without_scale", "restored_without_version", "restored_from_the_future")
    assert {name: seen[name] for name in refused} == dict.fromkeys(refused, False)
    for sentence in ("scale is missing", "format_version is missing", "the plan holds format 2, this library reads 1"):
        assert f"natdeploy: PackedNeighborhoodAttention: createPlugin: {sentence}" in log


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_registering_itself_can_be_switched_off(version):
    seen, _ = _registry_session(version, "dlopen_after", NATDEPLOY_SELF_REGISTER="0")
    assert seen["after_dlopen"] == []
    assert seen["after_load"] == BOTH
