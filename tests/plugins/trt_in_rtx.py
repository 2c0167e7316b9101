"""Run in an environment of its own: builds an engine from an ONNX file with TensorRT for RTX, which needs no GPU.

    python trt_in_rtx.py LIBRARY MODEL.onnx load|dlopen_before|dlopen_after|embed [PROFILE]

The modes load the library by the registry, by plain dlopen before or after TensorRT is there, or by the registry and
into the plan. PROFILE is JSON: shapes at min, opt and max by input. Prints what it saw as one JSON object.
"""

import collections
import ctypes
import json
import sys

library, model, mode = sys.argv[1:4]
if mode == "dlopen_before":
    ctypes.CDLL(library)
import tensorrt_rtx_bindings as trt  # noqa: E402

profile = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
messages = []


class Logger(trt.ILogger):
    """Keeps warnings and errors."""

    def __init__(self):
        trt.ILogger.__init__(self)

    def log(self, severity, message):
        """Called by TensorRT and by the plugin."""
        if severity <= trt.ILogger.WARNING:
            messages.append(message)


logger = Logger()
if mode == "dlopen_after":
    ctypes.CDLL(library)
elif mode != "dlopen_before":
    assert trt.get_plugin_registry().load_library(library) is not None
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
parsed = parser.parse_from_file(model)
every_layer = [network.get_layer(i) for i in range(network.num_layers)]
layers = collections.Counter(layer.type.name for layer in every_layer)
plugins = {layer.name: layer.get_output(0).dtype.name for layer in every_layer if layer.type.name == "PLUGIN_V3"}
size = None
if parsed:
    config = builder.create_builder_config()
    if mode == "embed":
        config.plugins_to_serialize = [library]
    if profile:
        shapes = builder.create_optimization_profile()
        for name, points in profile.items():
            shapes.set_shape(name, *points)
        config.add_optimization_profile(shapes)
    engine = builder.build_serialized_network(network, config)
    size = None if engine is None else engine.nbytes
seen = {"parsed": parsed, "layers": layers, "plugins": plugins, "engine_bytes": size, "messages": messages}
print(json.dumps(seen))
