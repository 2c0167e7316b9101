"""``--config KEY=VALUE`` into TensorRT's own builder configuration, whatever version has which settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from natdeploy.engines.sizes import bytes_from_text
from natdeploy.engines.tensorrt_module import Failed

YES, NO = ("1", "true", "on", "yes"), ("0", "false", "off", "no")

# Attributes that hold objects of the program's own, or that have an option here.
_NOT_SETTINGS = ("flags", "progress_monitor", "plugins_to_serialize", "profile_stream", "builder_optimization_level")


def apply_config(trt: Any, config: Any, request: dict[str, Any]) -> None:
    """Set what a request asks for.

    Args:
        trt: The TensorRT module.
        config: Its ``IBuilderConfig``.
        request: As ``builder.py`` writes it.

    Raises:
        Failed: With every key that this TensorRT does not have and every value that it does not take.
    """
    if "TF32" in trt.BuilderFlag.__members__:  # on by default: it halves the digits of what was asked for as float32
        config.clear_flag(trt.BuilderFlag.TF32)
    if request["workspace"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace"])
    if request["optimization_level"] is not None:
        config.builder_optimization_level = request["optimization_level"]
    if request["version_compatible"]:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if request["embed_plugin"]:
        config.plugins_to_serialize = [request["plugin"]]
    if request["timing_cache_out"]:
        known = request["timing_cache"]
        cache = config.create_timing_cache(Path(known).read_bytes() if known else b"")
        if not config.set_timing_cache(cache, False):
            raise Failed("config", [f"the timing cache is for another TensorRT or GPU: '{known}'"])
    problems = [problem for key, value in request["config"].items() if (problem := _set(trt, config, key, value))]
    if problems:
        raise Failed("config", [*problems, f"there are {', '.join(known_keys(trt, config))}"])


def uses_tf32(trt: Any, config: Any) -> bool:
    """Whether float32 layers may round what they multiply to the 10 bits of TF32."""
    return "TF32" in trt.BuilderFlag.__members__ and bool(config.get_flag(trt.BuilderFlag.TF32))


def known_keys(trt: Any, config: Any) -> list[str]:
    """List what ``--config`` can set here: builder flags, memory pools, preview features, then attributes."""
    members = [*trt.BuilderFlag.__members__, *trt.MemoryPoolType.__members__, *trt.PreviewFeature.__members__]
    return [*members, *_attributes(config)]


def _attributes(config: Any) -> list[str]:
    """Name the attributes of the configuration that are numbers, texts or choices."""
    names = [name for name in dir(type(config)) if isinstance(getattr(type(config), name), property)]
    return [name for name in names if name not in _NOT_SETTINGS and not name.startswith(("_", "num_", "all_"))]


def _set(trt: Any, config: Any, key: str, value: str) -> str | None:
    """Set one; gives what is wrong with it."""
    flags, pools, features = (e.__members__ for e in (trt.BuilderFlag, trt.MemoryPoolType, trt.PreviewFeature))
    if key in flags or key in features:
        if value.lower() not in (*YES, *NO):
            return f"{key} is '{value}', not 1 or 0"
        wanted = value.lower() in YES
        if key in features:
            config.set_preview_feature(features[key], wanted)
        else:
            (config.set_flag if wanted else config.clear_flag)(flags[key])
        return None
    if key in pools:
        size = bytes_from_text(value)
        if size is None:
            return f"{key} is '{value}', no size such as 4GiB"
        config.set_memory_pool_limit(pools[key], size)
        return None
    if key not in _attributes(config):
        return f"this TensorRT has no setting '{key}'"
    return _set_attribute(config, key, value)


def _set_attribute(config: Any, key: str, value: str) -> str | None:
    kind = type(getattr(config, key))
    members = getattr(kind, "__members__", None)
    if members is not None and value not in members:
        return f"{key} is '{value}', not one of {', '.join(members)}"
    try:
        setattr(config, key, members[value] if members is not None else kind(value))
    except (TypeError, ValueError):
        return f"{key} is '{value}', which is no {kind.__name__} that it takes"
    got = getattr(config, key)
    if members is None and got != kind(value):  # TensorRT logs and goes on
        return f"{key} is '{value}', which TensorRT does not take: it stays {got}"
    return None
