"""What TensorRT's parser, builder and runtime say, reduced to what helps: each problem once, with its nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

# Lines that follow every error on a machine without a GPU, and lines that the parser's own error objects repeat.
_NOISE = re.compile(
    r"cudaError 35|CUDA initialization failure|^ModelImporter\.cpp|Network must have at least one output"
    r"|Thread context has not been set|Engine deserialization failed"
)
_CUDA_ERROR = re.compile(r"\((cudaError \d+: [^()]*)\)")
_NO_DRIVER = "cudaError 35"
_LAST_WORDS = re.compile(r"Error Code \d+: [^(]*\((.*?)(?:\s+In \S+ at .*)?\)?$", re.DOTALL)

# By a part of the parser's own words.
_TRANSLATIONS = {
    "Plugin not found": "there is no plugin for this op, in the version and namespace that the node names",
    "Could not create the plugin": "the plugin refuses this node",
}

_BUILD_AGAIN = "Build it again here with `natdeploy build-engine`"

# What the runtime says where it does not load a plan: a part of its words, what that means, and what mends it.
_LOADING = (
    ("Version tag does not match", "it was built by another version", _BUILD_AGAIN),
    ("not compatible with this version", "it was built by another version", _BUILD_AGAIN),
    ("incompatible device", "it was built for another GPU", _BUILD_AGAIN),
    ("UNSUPPORTED_CC", "it is not for this GPU", _BUILD_AGAIN),
    (
        "Plugin Registry",
        "it needs a plugin that is not loaded",
        "`natdeploy doctor` says which plugin library is found",
    ),
    ("could not find plugin", "it needs a plugin that is not loaded", "`natdeploy doctor` says which one is found"),
    ("agic tag", "it is damaged, or no plan of this TensorRT", "Copy it again, or build it again"),
    ("agicTag", "it is damaged, or no plan of this TensorRT", "Copy it again, or build it again"),
    ("header.size == blobSize", "it was cut off, or is damaged", "Copy it again, or build it again"),
    ("MALFORMED_ENGINE", "it is damaged", "Copy it again, or build it again"),
    ("ost code", "it brings code for this machine", "If you trust where it comes from, add --allow-host-code"),
    ("ut of memory", "the GPU is out of memory", "End other programs on the GPU, or build for smaller --shapes"),
    ("OutOfMemory", "the GPU is out of memory", "End other programs on the GPU, or build for smaller --shapes"),
)


def problems_of_loading(log: Sequence[str]) -> tuple[list[str], str | None]:
    """Say why a plan was not loaded, and what mends that where it is known."""
    problems: list[str] = []
    next_steps: list[str] = []
    for message in log:
        known = next(((meaning, step) for part, meaning, step in _LOADING if part in message), None)
        problems += [f"{known[0]} ({said})" if known else said for said in problems_of_log([message])]
        next_steps += [known[1]] if known else []
    problems = list(dict.fromkeys(problems))
    if not problems and any(_NO_DRIVER in message for message in log):
        return ["the NVIDIA driver is missing, or too old for this TensorRT"], "Update the driver"
    return problems or ["TensorRT gave no reason"], next_steps[0] if next_steps else None


def problems_of_parser(errors: Iterable[Any], log: Iterable[str]) -> list[str]:
    """Say everything that the parser found, each problem once with the nodes that have it.

    Args:
        errors: TensorRT's ``ParserError`` objects.
        log: What the logger got, in which the plugin says why it refuses a node.
    """
    nodes: dict[str, list[str]] = {}
    for error in errors:
        name = f"{error.node_name() or f'node {error.node()}'} ({error.node_operator()})"
        nodes.setdefault(_words(str(error.desc())), []).append(name)
    reasons = [message for message in problems_of_log(log) if message.startswith("natdeploy: ")]
    return [*(f"{problem}: {_few(names)}" for problem, names in nodes.items()), *reasons] or problems_of_log(log)


def problems_of_log(log: Iterable[str]) -> list[str]:
    """Say what a log's errors are about, each once."""
    found = dict.fromkeys(_last_words(message) for message in log if not _NOISE.search(message))
    return [message for message in found if message]


def _words(description: str) -> str:
    for part, translation in _TRANSLATIONS.items():
        if part in description:
            return translation
    return description.removeprefix("Assertion failed: ").strip()


def _last_words(message: str) -> str:
    match = _CUDA_ERROR.search(message) or _LAST_WORDS.search(message)
    return " ".join((match[1] if match else message).split())


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
