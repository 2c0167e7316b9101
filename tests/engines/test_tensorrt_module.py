"""What every process does with a TensorRT module, done by TensorRT for RTX itself, which needs no GPU for that."""

import pytest
from engines import rtx
from plugins.trt_build import run

TWICE = """
import os
from natdeploy.engines.tensorrt_module import imported, load_plugin, logger
trt = imported("tensorrt_rtx_bindings")
log = logger(trt)
for _ in range(2):
    load_plugin(trt, log, os.environ["NATDEPLOY_PLUGIN_LIBRARY"])
print(sorted(c.name for c in trt.get_plugin_registry().all_creators if c.plugin_namespace == "natdeploy"))
"""


@pytest.mark.slow
def test_a_process_may_ask_for_the_plugin_library_again():
    """As for a second runner; the registry itself refuses a library that it has."""
    said = run(rtx.python(), "-c", TWICE, **rtx.environment())
    assert said.splitlines()[-1] == "['NeighborhoodAttention', 'PackedNeighborhoodAttention']"
