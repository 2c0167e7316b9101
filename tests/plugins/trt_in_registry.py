"""Run in an environment of its own: drives the plugin library through a TensorRT lean runtime's registry.

    python trt_in_registry.py LIBRARY load|dlopen_before|dlopen_after

Prints what it saw as one JSON object. The modes differ in who opens the library first: the registry, or plain dlopen
before or after TensorRT is there.
"""

import ctypes
import json
import sys

import numpy as np

library, mode = sys.argv[1:]
if mode == "dlopen_before":
    ctypes.CDLL(library)
import tensorrt_lean_bindings as trt  # noqa: E402

TYPES = {np.dtype(np.int32): trt.PluginFieldType.INT32, np.dtype(np.float32): trt.PluginFieldType.FLOAT32}
VALUES = {
    "num_heads": np.array([2], np.int32),
    "kernel_size": np.array([5, 3], np.int32),
    "dilation": np.array([1, 2], np.int32),
    "stride": np.array([1, 1], np.int32),
    "is_causal": np.array([0, 0], np.int32),
    "scale": np.array([0.25], np.float32),
}
logger = trt.Logger(trt.Logger.VERBOSE)
registry = trt.get_plugin_registry()


def ours():
    return sorted(c.name for c in registry.all_creators if c.plugin_namespace == "natdeploy")


def is_created(creator, phase, **changes):
    """Whether a plugin comes out of the valid fields with these changes; None leaves a field out."""
    values = {name: value for name, value in {**VALUES, **changes}.items() if value is not None}
    fields = [trt.PluginField(name, value, TYPES[value.dtype]) for name, value in values.items()]
    return creator.create_plugin("attention", trt.PluginFieldCollection(fields), phase) is not None


seen = {"version": trt.__version__, "at_first": ours()}
if mode == "dlopen_after":
    ctypes.CDLL(library)
    seen["after_dlopen"] = ours()
handle = registry.load_library(library)
seen["loaded"] = handle is not None
seen["after_load"] = ours()
seen["loaded_twice"] = registry.load_library(library) is not None
seen["after_second_load"] = ours()
creator = registry.get_creator("PackedNeighborhoodAttention", "1", "natdeploy")
version = np.array([1], np.int32)
seen["fields"] = [field.name for field in creator.field_names]
seen["built"] = is_created(creator, trt.TensorRTPhase.BUILD)
seen["built_without_scale"] = is_created(creator, trt.TensorRTPhase.BUILD, scale=None)
seen["restored"] = is_created(creator, trt.TensorRTPhase.RUNTIME, format_version=version)
seen["restored_without_version"] = is_created(creator, trt.TensorRTPhase.RUNTIME)
seen["restored_from_the_future"] = is_created(creator, trt.TensorRTPhase.RUNTIME, format_version=version + 1)
del creator
registry.deregister_library(handle)
seen["after_unload"] = ours()
print(json.dumps(seen))
