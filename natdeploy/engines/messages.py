"""What TensorRT's parser and builder say, reduced to what helps: each problem once, in words, with its nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# Lines that follow every error on a machine without a GPU, and lines that the parser's own error objects repeat.
_NOISE = re.compile(
    r"cudaError 35|CUDA initialization failure|^ModelImporter\.cpp|Network must have at least one output"
    r"|Thread context has not been set"
)
_LAST_WORDS = re.compile(r"Error Code \d+: [^(]*\((.*?)(?:\s+In \S+ at .*)?\)?$", re.DOTALL)

# By a part of the parser's own words.
_TRANSLATIONS = {
    "Plugin not found": "there is no plugin for this op, in the version and namespace that the node names",
    "Could not create the plugin": "the plugin refuses this node",
}


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
    match = _LAST_WORDS.search(message)
    return " ".join((match[1] if match else message).split())


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
