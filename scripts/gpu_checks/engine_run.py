"""One engine, in a process of its own with TensorRT's libraries on its path: build, run, compare, time.

    python -m gpu_checks.engine_run BINDINGS LIBRARY MODEL.onnx RECORDED.npz [--build-only]

BINDINGS is the Python module of TensorRT. Prints what it saw as one JSON object on the last line. Building needs
neither torch nor, with TensorRT for RTX, a GPU.
"""

from __future__ import annotations

import collections
import importlib
import json
import sys
from typing import Any

import numpy as np


def built_engine(trt: Any, library: str, model: str, shapes: dict[str, tuple[int, ...]]) -> tuple[Any, dict[str, Any]]:
    """Parse an ONNX file with the plugin library loaded, and build.

    Args:
        trt: The module.
        library: libnatdeploy_trt.so.
        model: The ONNX file.
        shapes: Of the inputs; the only point of the profile.

    Returns:
        The plan (None where there is none), and what was seen on the way.
    """
    messages: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.WARNING:
                messages.append(message)

    logger = Logger()
    seen: dict[str, Any] = {"version": trt.__version__, "messages": messages}
    seen["loaded"] = trt.get_plugin_registry().load_library(library) is not None
    builder = trt.Builder(logger)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # no flag from TensorRT 11 on
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    seen["parsed"] = parser.parse_from_file(model)
    if not seen["parsed"]:
        seen["messages"] += [str(parser.get_error(i)) for i in range(parser.num_errors)]
        return None, seen
    seen["layers"] = collections.Counter(network.get_layer(i).type.name for i in range(network.num_layers))
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 is compared as float32
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        name = network.get_input(i).name
        if -1 in tuple(network.get_input(i).shape):
            profile.set_shape(name, *[shapes[name]] * 3)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    seen["engine_bytes"] = None if plan is None else plan.nbytes
    return (logger, plan), seen


def run_engine(trt: Any, logger: Any, plan: Any, recorded: dict[str, np.ndarray]) -> dict[str, Any]:
    """Run a plan on recorded inputs, plainly and as a CUDA graph; gives errors and times."""
    import torch

    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    kinds = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16}
    tensors = {}
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    for name in names:
        kind = kinds[engine.get_tensor_dtype(name).name]
        values = torch.from_numpy(np.ascontiguousarray(recorded[name], np.float32)).to(kind)
        tensors[name] = torch.full_like(values, torch.nan).cuda() if name in outputs else values.cuda()
        if name not in outputs:
            context.set_input_shape(name, tuple(values.shape))
        context.set_tensor_address(name, tensors[name].data_ptr())
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        ran = context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        found = {name: _compared(tensors[name], recorded[name]) for name in outputs}
        for name in outputs:
            tensors[name].fill_(torch.nan)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            context.execute_async_v3(stream.cuda_stream)
        times = []
        for _ in range(50):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record(stream)
            graph.replay()
            end.record(stream)
            end.synchronize()
            times.append(1e3 * begin.elapsed_time(end))
    replayed = {name: _compared(tensors[name], recorded[name])["error"] for name in outputs}
    return {"ran": ran, "outputs": found, "replayed": replayed, "graph_us": float(np.median(times))}


def _compared(found: Any, expected: np.ndarray) -> dict[str, Any]:
    values = found.float().cpu().numpy()
    error = float(np.abs(values.astype(np.float64) - expected).max())
    return {"error": error, "deviation": float(expected.std()), "dtype": str(found.dtype).removeprefix("torch.")}


def main() -> None:
    """Print what one engine gave."""
    bindings, library, model, recorded_path = sys.argv[1:5]
    trt = importlib.import_module(bindings)
    with np.load(recorded_path, allow_pickle=False) as archive:
        recorded = {name: archive[name] for name in archive.files if archive[name].dtype.kind == "f"}
    built, seen = built_engine(trt, library, model, {name: value.shape for name, value in recorded.items()})
    if built is not None and built[1] is not None and "--build-only" not in sys.argv:
        seen |= run_engine(trt, *built, recorded)
    print(json.dumps(seen, allow_nan=True))


if __name__ == "__main__":
    main()
