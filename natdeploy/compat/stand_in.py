"""Putting the stand-in where Hugging Face's code looks for NATTEN.

transformers 4.x asks once, when it is imported, whether a module and a distribution ``natten`` exist, and keeps the
answer in ``_natten_available``; transformers 5.x asks for the module only, and caches the answer. Its modelling code
then does ``from natten.functional import natten2dav, natten2dqkrpb``.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any

from natdeploy.errors import MissingDependencyError, NatdeployError

FUNCTIONS = ("natten2dqkrpb", "natten2dav")


def install() -> None:
    """Make ``natten.functional.natten2dqkrpb`` and ``natten2dav`` importable, for this process.

    A natten that can be imported keeps everything it has and gains the two functions that it dropped in 0.20. Where
    there is none, or one that does not load (built for another torch), a module ``natten`` holding just these two
    stands in. transformers is told that natten is available, whether it is imported before or after this call.
    Calling it again does nothing.

    Raises:
        NatdeployError: If the installed natten has the functions itself (0.17 and older): nothing is replaced.
        MissingDependencyError: If torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("torch", "the stand-in for NATTEN", "export")
    functional = _loadable_natten() or _stand_in_modules()
    if natten_has_the_functions():
        version = getattr(sys.modules["natten"], "__version__", "of unknown version")
        raise NatdeployError(
            "natdeploy.compat.install() would replace working functions",
            got=f"natten {version}, which has {' and '.join(FUNCTIONS)} itself",
            next_step="Leave the call out: Hugging Face's code runs with that natten",
        )
    from natdeploy.compat import natten_functions

    for name in FUNCTIONS:
        setattr(functional, name, getattr(natten_functions, name))
    _tell_transformers()


def natten_has_the_functions() -> bool:
    """Whether the installed natten has the functions of its own, so that no stand-in is needed."""
    functional = _loadable_natten()
    return functional is not None and any(
        hasattr(functional, name) and getattr(functional, name).__module__ != "natdeploy.compat.natten_functions"
        for name in FUNCTIONS
    )


def _loadable_natten() -> ModuleType | None:
    """Give ``natten.functional``, or None where natten is missing or does not load."""
    try:
        return importlib.import_module("natten.functional")
    except (
        ImportError,
        OSError,
        RuntimeError,
    ):  # a build for another torch: undefined symbols, operators registered twice
        return None


def _stand_in_modules() -> ModuleType:
    """Create ``natten`` and ``natten.functional``; give the latter."""
    package, functional = ModuleType("natten"), ModuleType("natten.functional")
    for module in (package, functional):
        module.__doc__ = "A stand-in by natdeploy.compat: just what Hugging Face's NAT and DiNAT import."
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None, is_package=module is package)
        sys.modules[module.__name__] = module
    package.__path__ = []
    package.functional = functional  # type: ignore[attr-defined]
    return functional


def _tell_transformers() -> None:
    """Correct what transformers has found out, or is about to find out, about natten."""
    if importlib.util.find_spec("transformers") is None:
        return
    checks: Any = importlib.import_module("transformers.utils.import_utils")
    if hasattr(checks, "_natten_available"):  # 4.x
        checks._natten_available = True
    elif hasattr(checks.is_natten_available, "cache_clear"):  # 5.x
        checks.is_natten_available.cache_clear()
    functional = sys.modules["natten.functional"]
    for name, module in list(sys.modules.items()):
        if name.startswith("transformers.models.") and set(FUNCTIONS) <= vars(module).keys():
            for function in FUNCTIONS:  # dummies that raise, if this module was imported without natten
                setattr(module, function, getattr(functional, function))
