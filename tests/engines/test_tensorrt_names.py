"""Every name of TensorRT that running plans needs is one: in 10.15, in the lean 10.16 and 11.4, and in that for RTX."""

import json
import re

import pytest
from engines import rtx
from engines.pretended_tensorrt import Context, CudaGraphStrategy, Engine, RtxRuntime, RuntimeConfig
from plugins.trt_build import run
from plugins.trt_full import VERSION as FULL
from plugins.trt_full import full_tensorrt
from side_environments import ROOT, python_with

# The classes of TensorRT by the names of their objects in natdeploy.
OBJECTS = {
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "config": "IRuntimeConfig",
}
PRETENDED = {
    "Runtime": RtxRuntime,
    "ICudaEngine": Engine,
    "IExecutionContext": Context,
    "IRuntimeConfig": RuntimeConfig,
}
FILES = ("natdeploy/engines/execution.py", "natdeploy/engines/loading.py", "natdeploy/runners/tensorrt_runner.py")
OF_RTX = re.compile(
    r"create_runtime_config|is_stream_capturable|get_engine_validity|CudaGraphStrategy|EngineInvalidity"
    r"|IRuntimeConfig|DynamicShapesKernelSpecializationStrategy"
)
NOT_LEAN = "TensorFormat.LINEAR"  # whose lean modules lack the enumeration, and build nothing

SCRIPT = """
import importlib, json, sys
trt = importlib.import_module(sys.argv[1])
wanted = json.loads(sys.argv[2])
def there(path):
    found = trt
    for name in path.split("."):
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True
print(json.dumps({"version": trt.__version__, "missing": [path for path in wanted if not there(path)]}))
"""


def names() -> set[str]:
    """Collect them from the source: members of the objects, and what is taken from the module."""
    text = "\n".join((ROOT / file).read_text("utf-8") for file in FILES)
    found = {f"trt.{path}" for path in re.findall(r"\btrt\.([A-Z][\w.]+\w)", text)}
    for name, kind in OBJECTS.items():
        found |= {f"{kind}.{member}" for member in re.findall(rf"\b{name}\.([a-z_0-9]+)", text)}
    return {path.removeprefix("trt.") for path in found}


def wanted(version: str) -> list[str]:
    """Leave out what that version need not have."""
    found = {path for path in names() if version == rtx.VERSION or not OF_RTX.search(path)}
    return sorted(found if version in (FULL, rtx.VERSION) else found - {NOT_LEAN})


def test_what_is_looked_for():
    assert len(names()) >= 20
    assert {
        "IExecutionContext.execute_async_v3",
        "TensorLocation.DEVICE",
        "Runtime.engine_host_code_allowed",
    } <= names()


@pytest.mark.parametrize("kind", PRETENDED)
def test_what_is_pretended_has_them_too(kind):
    source = (ROOT / "tests" / "engines" / "pretended_tensorrt.py").read_text("utf-8")
    members = [path.partition(".")[2] for path in names() if path.startswith(f"{kind}.")]
    assert members
    assert [name for name in members if not hasattr(PRETENDED[kind], name) and f"self.{name}" not in source] == []
    assert CudaGraphStrategy["WHOLE_GRAPH_CAPTURE"]


@pytest.mark.slow
@pytest.mark.parametrize("version", [FULL, "10.16.1.11", "11.4.0.106", rtx.VERSION])
def test_names_are_tensorrts(version):
    environment = {}
    if version == rtx.VERSION:
        module, python = "tensorrt_rtx_bindings", rtx.python()
    elif version == FULL:
        module, python = "tensorrt_bindings", python_with(f"tensorrt-cu13-bindings=={version}", "numpy")
        environment["LD_LIBRARY_PATH"] = str(full_tensorrt())
    else:
        module = "tensorrt_lean_bindings"
        python = python_with(*(f"tensorrt-lean-cu13-{part}=={version}" for part in ("libs", "bindings")), "numpy")
    said = run(python, "-c", SCRIPT, module, json.dumps(wanted(version)), **environment)
    assert json.loads(said.splitlines()[-1]) == {"version": version, "missing": []}
