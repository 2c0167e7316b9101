"""What every process does with a TensorRT module, done by TensorRT for RTX itself, which needs no GPU for that."""

import pytest
from engines import rtx
from plugins.trt_build import run

TWICE = """
import gc, os
from natdeploy.engines.tensorrt_module import imported, load_plugin, logger
trt = imported("tensorrt_rtx_bindings")
for _ in range(2):
    log = logger(trt)
    runtime = trt.Runtime(log)  # and the first goes
    load_plugin(trt, log, os.environ["NATDEPLOY_PLUGIN_LIBRARY"])
del log
gc.collect()
trt.get_plugin_registry().load_library("/absent.so")
print(any("/absent.so" in message for message in logger(trt).messages))
print(sorted(c.name for c in trt.get_plugin_registry().all_creators if c.plugin_namespace == "natdeploy"))
"""


@pytest.mark.slow
def test_one_runner_may_follow_another():
    """The registry refuses a library that it has, and calls the first logger also when its owner is gone."""
    said = run(rtx.python(), "-c", TWICE, **rtx.environment())
    assert said.splitlines()[-2:] == ["True", "['NeighborhoodAttention', 'PackedNeighborhoodAttention']"]
