"""The TensorRT plugin library: where it lies, what it is, and whether it fits this natdeploy. Loads no TensorRT."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from natdeploy.environment import Finding
from natdeploy.errors import NatdeployError
from natdeploy.ops import spec

FILE_NAME = "libnatdeploy_trt.so"
VARIABLE = "NATDEPLOY_PLUGIN_LIBRARY"
MANIFEST_SCHEMA = 1

# The library registers itself in a TensorRT when it is loaded, and would load one for that; reading must not.
_SELF_REGISTRATION = "NATDEPLOY_SELF_REGISTER"

# Why an installation holds no library, one line per reason: what is missing, then what to do (plugins/CMakeLists.txt).
LEFT_OUT = "left_out.txt"

BUILD = "NATDEPLOY_PLUGINS=required pip install ."


def plugin_library_path(explicit: Path | None = None) -> Path:
    """Find the library: the explicit path, else the environment variable, else inside the package.

    Args:
        explicit: What the user named for this call.

    Returns:
        The absolute path of a file.

    Raises:
        NatdeployError: If what is named is no file, or nothing is named and none lies in the package.
    """
    named, where = explicit, "the plugin library"
    if named is None and (value := os.environ.get(VARIABLE)):
        named, where = Path(value), f"the plugin library that {VARIABLE} names"
    if named is not None:
        if not named.is_file():
            raise NatdeployError(f"{where} is not a file", got=str(named), needed=f"the path of a {FILE_NAME}")
        return named.absolute()
    inside = _inside_package(FILE_NAME)
    if inside is None:
        reasons, remedies = _left_out()
        raise NatdeployError(
            "the TensorRT plugin library is not installed",
            got=f"left out at installation ({reasons})" if reasons else None,
            needed=f"{FILE_NAME} inside the package natdeploy, or {VARIABLE} naming one",
            next_step=" ".join([*remedies, f"Install natdeploy from its repository with `{BUILD}`, or set {VARIABLE}"]),
        )
    return inside


def manifest_from_library(path: Path) -> dict[str, Any]:
    """Ask a library what it is: names, versions, attributes, kernel version, GPU architectures.

    Args:
        path: The library. Loading runs its code, so it must be trusted.

    Returns:
        Its manifest, with the keys that plugins/tensorrt/manifest.cpp writes.

    Raises:
        NatdeployError: If it cannot be loaded, is not natdeploy's, or has a manifest that cannot be read.
    """
    if not sys.platform.startswith("linux"):
        raise NatdeployError("plugin libraries are for Linux", got=sys.platform)
    with _loaded(path) as library:
        try:
            function = library.natdeploy_manifest
        except AttributeError:
            raise NatdeployError(
                f"'{path}' is not natdeploy's plugin library", needed="a library with the function natdeploy_manifest"
            ) from None
        function.restype = ctypes.c_char_p
        text: bytes | None = function()
    try:
        manifest = json.loads(text or b"")
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("schema") != MANIFEST_SCHEMA:
        schema = manifest.get("schema") if isinstance(manifest, dict) else "no JSON object"
        raise NatdeployError(
            f"the manifest of '{path}' cannot be read",
            got=f"schema {schema}",
            needed=f"schema {MANIFEST_SCHEMA}",
            next_step=f"Install natdeploy from its repository with `{BUILD}`: that brings the library that fits",
        )
    return manifest


def differences_from_spec(manifest: dict[str, Any]) -> list[str]:
    """Compare a manifest with natdeploy/ops/spec.py.

    Returns:
        One sentence per difference; empty where the library computes the op that this natdeploy exports.
    """
    expected = {
        "domain": spec.DOMAIN,
        "domain_version": spec.DOMAIN_VERSION,
        "plugin_namespace": spec.PLUGIN_NAMESPACE,
        "plugin_version": spec.PLUGIN_VERSION,
        "dtypes": list(spec.TENSOR_DTYPES),
    }
    found = [
        f"{key} is {manifest.get(key)!r} in the library, {value!r} in natdeploy"
        for key, value in expected.items()
        if manifest.get(key) != value
    ]
    operators = {entry.get("op_type"): entry for entry in manifest.get("operators", ())}
    for name in operators.keys() - spec.OPERATORS.keys():
        found.append(f"the library computes {name}, which natdeploy does not know")
    for name, operator in spec.OPERATORS.items():
        if name not in operators:
            found.append(f"the library does not compute {name}")
            continue
        theirs = {entry.get("name"): entry.get("type") for entry in operators[name].get("attributes", ())}
        ours = {attribute.name: attribute.type.value for attribute in operator.attributes}
        found += _attribute_differences(name, theirs, ours)
    return found


def checked_plugin_library(explicit: Path | None = None) -> Path:
    """Find the library and make sure that it fits this natdeploy.

    Args:
        explicit: As for ``plugin_library_path``.

    Raises:
        NatdeployError: If it is not found, not readable, or computes another op, with every difference.
    """
    path = plugin_library_path(explicit)
    manifest = manifest_from_library(path)
    if differences := differences_from_spec(manifest):
        raise NatdeployError(
            f"'{path}' does not fit this natdeploy: it was built from natdeploy {manifest.get('natdeploy_version')}",
            got="; ".join(differences),
            next_step=f"Install natdeploy from its repository with `{BUILD}`: that brings the library that fits",
        )
    return path


def plugin_finding() -> Finding:
    """Give the line of ``natdeploy doctor`` on the plugin library."""
    subject = "TensorRT plugin"
    try:
        path = plugin_library_path()
    except NatdeployError as error:
        state = "problem" if os.environ.get(VARIABLE) else "missing"
        return Finding(subject, state, _first_sentence(error), error.next_step or f"correct or unset {VARIABLE}")
    try:
        manifest = manifest_from_library(path)
    except NatdeployError as error:
        return Finding(subject, "problem", _first_sentence(error), BUILD)
    if differences := differences_from_spec(manifest):
        return Finding(subject, "problem", f"{path} does not fit: {'; '.join(differences)}", BUILD)
    gpus = ", ".join(manifest.get("cuda_architectures", ()))
    detail = f"{path}: kernels {manifest.get('kernel_version')}, CUDA {manifest.get('cuda_version')}, for {gpus}"
    return Finding(subject, "ok", detail)


def _inside_package(name: str) -> Path | None:
    """Find a file of the native build; an editable installation has two folders, the sources and what was built."""
    import natdeploy

    found = (Path(folder) / "lib" / name for folder in natdeploy.__path__)
    return next((path.absolute() for path in found if path.is_file()), None)


def _left_out() -> tuple[str, list[str]]:
    """Read why the library was not built: what was missing, and what to do about each."""
    path = _inside_package(LEFT_OUT)
    lines = path.read_text("utf-8").split("\n") if path else []
    parts = [line.partition(". ") for line in lines if line]
    return "; ".join(what.rstrip(".") for what, _, _ in parts), [remedy for _, _, remedy in parts if remedy]


def _attribute_differences(op_type: str, theirs: dict[str, str], ours: dict[str, str]) -> list[str]:
    found = [f"{op_type}: attribute '{n}' is in natdeploy only" for n in ours.keys() - theirs.keys()]
    found += [f"{op_type}: attribute '{n}' is in the library only" for n in theirs.keys() - ours.keys()]
    found += [
        f"{op_type}: attribute '{n}' is {theirs[n]} in the library, {ours[n]} in natdeploy"
        for n in ours.keys() & theirs.keys()
        if ours[n] != theirs[n]
    ]
    return sorted(found)


def _first_sentence(error: NatdeployError) -> str:
    return f"{error.what}: {error.got}" if error.got else error.what


@contextmanager
def _loaded(path: Path) -> Iterator[ctypes.CDLL]:
    """Load a library without letting it register itself, and unload it: it must register when TensorRT wants it."""
    import _ctypes

    before = os.environ.get(_SELF_REGISTRATION)
    os.environ[_SELF_REGISTRATION] = "0"
    try:
        library = ctypes.CDLL(str(path.absolute()))
    except OSError as error:
        raise NatdeployError(
            f"'{path}' cannot be loaded", got=str(error), needed="a shared library for this machine"
        ) from error
    finally:
        if before is None:
            del os.environ[_SELF_REGISTRATION]
        else:
            os.environ[_SELF_REGISTRATION] = before
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)
