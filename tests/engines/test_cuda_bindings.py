"""NVIDIA's own cuda-bindings, as far as they go without a GPU: they take every call that natdeploy makes."""

import json
import re

import pytest
from engines.pretended_cuda import Machine, runtime_module
from plugins.trt_build import run
from side_environments import ROOT, python_with

pytestmark = pytest.mark.slow

SCRIPT = """
import json
from natdeploy.engines.cuda import CudaRuntime, DeviceWork
from natdeploy.errors import NatdeployError
import numpy as np

told = {}

def attempt(name, what):
    try:
        what()
    except NatdeployError as error:
        told[name] = str(error)

attempt("start", lambda: CudaRuntime("tensorrt"))
cuda = CudaRuntime.__new__(CudaRuntime)
from cuda.bindings import runtime as api
cuda.api = api
told["versions"] = cuda.versions()
attempt("cudaStreamCreateWithFlags", lambda: DeviceWork(cuda))
work = DeviceWork.__new__(DeviceWork)
work._cuda, work._graph, work._buffers = cuda, None, {"x": (4096, 16)}
work._stream = api.cudaStream_t(0)
told["stream"] = int(work._stream)
array = np.zeros(4, np.float32)
attempt("cudaMalloc", lambda: work.reserve("y", 16))
attempt("cudaFree", lambda: work.reserve("x", 32))
work._buffers = {"x": (4096, 16)}
attempt("upload", lambda: work.upload("x", array))
attempt("download", lambda: work.download("x", array))
attempt("cudaMemsetAsync", lambda: work.spoil("x"))
attempt("cudaStreamSynchronize", work.synchronize)
attempt("cudaStreamBeginCapture", lambda: work.record(lambda: None))
attempt("cudaStreamEndCapture", lambda: cuda.call("cudaStreamEndCapture", work._stream))
attempt("cudaGraphInstantiate", lambda: cuda.call("cudaGraphInstantiate", api.cudaGraph_t(0), 0))
attempt("cudaGraphLaunch", lambda: cuda.call("cudaGraphLaunch", api.cudaGraphExec_t(0), work._stream))
attempt("cudaGraphDestroy", lambda: cuda.call("cudaGraphDestroy", api.cudaGraph_t(0)))
attempt("cudaGraphExecDestroy", lambda: cuda.call("cudaGraphExecDestroy", api.cudaGraphExec_t(0)))
attempt("cudaStreamDestroy", lambda: cuda.call("cudaStreamDestroy", work._stream))
told["memory"] = len(api.cudaMemGetInfo())
work.close()
told["names"] = [name for name in NAMES if not hasattr(api, name)]
print(json.dumps(told))
"""


# Members of enumerations, which the calls below use.
MEMBERS = {"cudaStreamCaptureModeThreadLocal", "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"}


def names():
    """Everything of the package that natdeploy uses, by its source."""
    text = (ROOT / "natdeploy" / "engines" / "cuda.py").read_text("utf-8")
    found = {*re.findall(r"\bcuda[A-Z]\w+", text), "cudaRuntimeGetVersion", "cudaDriverGetVersion"}
    return sorted(found - MEMBERS)


@pytest.mark.parametrize("version", ["12.9.4", "13.0.3"])
def test_calls_are_understood_and_a_missing_driver_is_said(version):
    python = python_with(f"cuda-bindings=={version}", "numpy")
    told = json.loads(run(python, "-c", SCRIPT.replace("NAMES", repr(names()))).splitlines()[-1])
    assert told["versions"][0] == version.rpartition(".")[0]
    if told["versions"][1] != "0.0":
        pytest.skip("cuda-bindings without a driver: this machine has one")
    assert told["names"] == []
    assert (told["stream"], told["memory"]) == (0, 3)
    missing = "the NVIDIA driver is too old, or missing. Got: no NVIDIA driver. Needed: one for CUDA "
    refused = {name: text for name, text in told.items() if name not in ("versions", "names", "stream", "memory")}
    assert len(refused) == 15
    assert {name for name, text in refused.items() if not text.startswith(missing)} == set()


def test_what_is_pretended_is_there():
    module = runtime_module(Machine())
    assert [name for name in names() if not hasattr(module, name)] == []
