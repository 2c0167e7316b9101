"""JSON documents with the version of their schema: whether this natdeploy reads one, and what is wrong with it."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from natdeploy.errors import NatdeployError


def refuse_newer(document: object, newest: int, what: str) -> None:
    """Refuse a document of a later version than this natdeploy knows.

    Raises:
        NatdeployError: If its ``schema`` is a number beyond ``newest``; ``what`` names it.
    """
    version = document.get("schema") if isinstance(document, dict) else None
    if isinstance(version, int) and version > newest:
        raise NatdeployError(
            f"{what} is of version {version}", needed=f"version {newest} or older", next_step="Update natdeploy"
        )


def schema_problems(document: object, schema: Any, name: str = "") -> list[str]:
    """Say where a document breaks its schema; an integer written as 224.0 or true is no integer.

    Args:
        document: What was read.
        schema: The JSON schema.
        name: Of the part of a larger document that this is.
    """
    import jsonschema

    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    validator = jsonschema.validators.extend(base, type_checker=types)(schema)
    errors = sorted(validator.iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    return [f"{_where(name, error.absolute_path)}: {error.message[:150]}" for error in errors[:5]]


def _where(name: str, path: Any) -> str:
    return ".".join(filter(None, [name, *map(str, path)])) or "document"


def schema_in(package: str, file: str) -> Any:
    """Read a published schema."""
    return json.loads(resources.files(package).joinpath(file).read_text("utf-8"))
