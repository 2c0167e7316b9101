"""Run in an environment of its own: drives the plugin library through the registry of one TensorRT.

    python trt_in_registry.py tensorrt_bindings|tensorrt_lean_bindings LIBRARY load|dlopen_before|dlopen_after

Prints what it saw as one JSON object. The modes differ in who opens the library first: the registry, or plain dlopen
before or after TensorRT is there.
"""

import ctypes
import importlib
import json
import sys

import numpy as np

bindings, library, mode = sys.argv[1:]
if mode == "dlopen_before":
    ctypes.CDLL(library)
trt = importlib.import_module(bindings)

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


def is_created(op_type, phase, **changes):
    """Whether a plugin comes out of the valid fields with these changes; None leaves a field out."""
    creator = registry.get_creator(op_type, "1", "natdeploy")
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
for op_type, heads in (("PackedNeighborhoodAttention", {}), ("NeighborhoodAttention", {"num_heads": None})):
    creator = registry.get_creator(op_type, "1", "natdeploy")
    build, restore = trt.TensorRTPhase.BUILD, trt.TensorRTPhase.RUNTIME
    version = np.array([1], np.int32)
    seen[op_type] = {
        "fields": [field.name for field in creator.field_names],
        "built": is_created(op_type, build, **heads),
        "built_without_scale": is_created(op_type, build, **heads, scale=None),
        "restored": is_created(op_type, restore, **heads, format_version=version),
        "restored_without_version": is_created(op_type, restore, **heads),
        "restored_from_the_future": is_created(op_type, restore, **heads, format_version=version + 1),
    }
    del creator
registry.deregister_library(handle)
seen["after_unload"] = ours()
seen["loaded_again"] = registry.load_library(library) is not None
seen["after_loading_again"] = ours()
print(json.dumps(seen))
