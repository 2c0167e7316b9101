"""Faults in running plans: buffers, waiting, graphs, shapes, and what is refused before TensorRT is imported."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_EXECUTION = planted("engines", "natdeploy/engines/execution.py", (
    (tests.ENGINE_RUNNER,),
    {
        "results-not-waited-for": ("self._work.download(name, array)\n            self._work.synchronize()\n",
                                   "self._work.download(name, array)\n"),
        "graph-replayed-with-old-inputs": ("for name, array in given.items():\n                self._work.up",
                                           "for name, array in () if self._recorded else given.items():\n"
                                           "                self._work.up"),
        "outputs-swapped": ("for name, array in results.items():",
                            "for name, array in zip(reversed(results), results.values()):"),
        "inputs-taken-for-contiguous": ('np.asarray(array, order="C") for', "array for"),
        "first-shapes-kept": ("if shapes == self._shapes:", "if self._shapes:"),
        "first-places-kept": ("if self._places.get(name) != address:", "if name not in self._places:"),
        "graph-kept-for-other-shapes": ("key = (dict(self._shapes), dict(self._places))",
                                        "key = dict(self._places)"),
        "graph-kept-for-other-places": ("key = (dict(self._shapes), dict(self._places))",
                                        "key = dict(self._shapes)"),
        "graph-recorded-at-every-run": ("            self._recorded = key\n", ""),
        "recorded-before-it-ran": ("self._enqueue()\n            self._work.synchronize()\n            try:", "try:"),
        "results-of-the-run-before-the-graph": ("                self._work.spoil(name)\n", "                pass\n"),
        "rtx-not-told-to-record": ("            config.cuda_graph_strategy = trt", "            config.unused = trt"),
        "configuration-let-go": ("            self._config = config = engine", "            config = engine"),
        "rtx-compiles-when-it-likes": ("            config.dynamic_shapes_kernel_specialization_strategy = ",
                                       "            config.unused = "),
        "rtx-not-asked-whether-it-records": ("if self._by_itself and not", "if self._recording and not"),
        "failed-runs-pass": ("if not self._context.execute_async_v3(self._work.stream):",
                             "if self._context.execute_async_v3(self._work.stream) is None:"),
        "sizes-that-are-unknown-pass": ("any(size < 0 for size in shape)", "any(size < -1 for size in shape)"),
    },
))  # fmt: skip

_CUDA = planted("engines", "natdeploy/engines/cuda.py", (
    (tests.ENGINE_RUNNER,),
    {
        "buffers-never-grow": ("if size <= capacity:", "if capacity >= 0:"),
        "old-buffers-stay": ('            self._cuda.call("cudaFree", address)\n        address =',
                             "            pass\n        address ="),
        "buffers-stay": ('with contextlib.suppress(NatdeployError):\n                self._cuda.call("cudaFree"',
                         'with contextlib.suppress(NatdeployError):\n                str("cudaFree"'),
        "graphs-stay": ('            self._cuda.call("cudaGraphDestroy", graph)\n\n', "            pass\n\n"),
        "old-recordings-stay": ("        self._drop_graph()\n        mode", "        mode"),
        "recordings-stay": ("        with contextlib.suppress(NatdeployError):\n            self._drop_graph()\n", ""),
        "recording-never-ends": ("            _, graph = self._cuda.api.cudaStreamEndCapture(self._stream)",
                                 "            graph = None"),
    },
), (
    (tests.PLANS_REFUSED,),
    {
        "errors-pass": ("if int(status) != 0:\n            raise", "if int(status) == 1:\n            raise"),
        "any-driver": ("if int(status) == _INSUFFICIENT_DRIVER:", "if int(status) == _NO_DEVICE + 1:"),
    },
))  # fmt: skip

_RUNNER = planted("engines", "natdeploy/runners/tensorrt_runner.py", (
    (tests.ENGINE_RUNNER,),
    {
        "any-shape": ("        if outside:\n", "        if False:\n"),
        "best-shape-taken-for-the-largest": ("low, _, high = (tuple(map", "low, high, _ = (tuple(map"),
        "first-axis-decides": ("all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))",
                               "low[0] <= shape[0] <= high[0]"),
        "batch-of-the-file": ("batch=fixed, batch_range", "batch=None, batch_range"),
        "tf32-taken-for-float32": ('precision["weights"] = "tf32"', 'precision["weights"] = "float32"'),
        "tf32-for-all": ('plan.part["options"].get("tf32", True)', "True"),
        "nothing-let-go": ("        self.work.close()\n", "        pass\n"),
        "failed-contexts-leave-a-stream": ("except BaseException:\n            self._close()\n            raise\n",
                                           "except BaseException:\n            raise\n"),
        "host-tensors-pass": ("!= trt.TensorLocation.DEVICE:", "== trt.TensorFormat.LINEAR:"),
    },
))  # fmt: skip

_CHECKED = planted("engines", "natdeploy/engines/checked_plan.py", (
    (tests.PLANS_REFUSED,),
    {
        "host-code-without-consent": ("if not brought or use.allow_host_code:", "if brought or use.allow_host_code:"),
        "hidden-libraries-pass": ("if kind == _SHARED and machine != _CUDA:", "if kind == _CUDA and machine != _CUDA:"),
        "kernels-taken-for-host-code": ("if kind == _SHARED and machine != _CUDA:", "if kind == _SHARED:"),
        "sidecars-of-others-pass": ("        check_same_plan(path, header, part)\n", "        pass\n"),
        "plans-without-sidecar-pass": ("    elif described:\n", "    elif part is not None:\n"),
        "older-libraries-pass": ("(ours[0] < theirs[0] or ours[1] < theirs[1])", "ours[0] > theirs[0]"),
        "libraries-without-the-op-pass": ("if (name, version, namespace) not in here", "if not here"),
        "libraries-for-other-gpus-pass": ("if has_kernels_for(gpu.compute_capability, architectures):", "if True:"),
        "missing-cuda-passes": ("if installed and not is_installed(cuda.MODULE):", "if False:"),
    },
))  # fmt: skip

_LOADING = planted("engines", "natdeploy/engines/loading.py", (
    (tests.ENGINE_RUNNER,),
    {"complaints-of-the-runner-before": ("        log.messages.clear()\n        _check", "        _check"),
     "host-code-always-allowed": ("    if plan.host_code:\n", "    if plan is not None:\n"),
     "plan-before-its-plugin": ("        load_plugin(trt, log, library)\n", "        load_plugin(trt, log, None)\n")},
), (
    (tests.PLANS_REFUSED,),
    {"another-version-is-imported": ("if version.split(\".\")[:4] != plan.part", "if version[:1] != plan.part"),
     "validity-not-asked": ("if int(found) & int(member)]", "if False]")},
))  # fmt: skip

_MODULE = planted("engines", "natdeploy/engines/tensorrt_module.py", (
    (tests.ENGINE_RUNNER,),
    {"plugin-loaded-twice": ("    if not _missing_creators(registry):\n", "    if False:\n"),
     "logger-for-each-runner": ("@functools.cache\n", "")},
))  # fmt: skip

_MESSAGES = planted("engines", "natdeploy/engines/messages.py", (
    (tests.PLANS_REFUSED,),
    {"no-driver-is-no-reason": ("if not problems and any(_NO_DRIVER in", "if problems and any(_NO_DRIVER in")},
))  # fmt: skip

_BUILDER = planted("engines", "natdeploy/engines/builder_config.py", (
    (tests.ENGINE_BUILDER,),
    {"tf32-by-default": ("        config.clear_flag(trt.BuilderFlag.TF32)\n", "        pass\n")},
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_EXECUTION, *_CUDA, *_RUNNER, *_CHECKED, *_LOADING, *_MODULE, *_MESSAGES, *_BUILDER)
