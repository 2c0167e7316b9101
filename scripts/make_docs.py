#!/usr/bin/env python
"""Write docs/cli.md, docs/support.md, docs/metadata.md and docs/sidecar.md from the code that they describe.

    python scripts/make_docs.py

A test (tests/test_docs.py) fails where they are stale.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from natdeploy.cli import cli, options
from natdeploy.ops.spec import DOMAIN, DOMAIN_VERSION, OPERATORS, TENSOR_DTYPES, Neighborhood
from natdeploy.ops.support import FORMS, Use, unsupported_reasons

ROOT = Path(__file__).resolve().parents[1]
HEAD = "<!-- Written by scripts/make_docs.py; a test fails where it is stale. -->\n\n"


def documents() -> dict[Path, str]:
    """Give the text of every generated document by its path."""
    pages = {"cli.md": cli_page(), "support.md": support_page()}
    pages["metadata.md"] = schema_page(ROOT / "natdeploy" / "onnx_files" / "metadata.schema.json")
    pages["sidecar.md"] = schema_page(ROOT / "natdeploy" / "engines" / "engine.schema.json")
    return {ROOT / "docs" / name: HEAD + page for name, page in pages.items()}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cli_page() -> str:
    intro = """\
        # The command line

        Exit status: 0 done, or agrees; 1 could not do it (files, data, what is installed); 2 the command line is wrong;
        3 `verify` ran both sides and they disagree; 130 interrupted.

        Results go to standard output, with `--json` as one JSON document; everything else goes to standard error.
        """
    return textwrap.dedent(intro) + "".join(
        _command_section(name, command) for name, command in sorted(cli.commands.items())
    )


def _command_section(name: str, command: options.Command) -> str:
    text = inspect.cleandoc(command.help or "")
    arguments = [p.metavar or p.name.upper() for p in command.params if isinstance(p, click.Argument)]
    flags = [p for p in command.params if isinstance(p, click.Option)]
    rows = [[_flags(option), option.help or "", _default(option)] for option in flags]
    return (
        f"\n## natdeploy {name}\n\n`natdeploy {' '.join([name, *arguments])} [OPTIONS]`\n\n{text.strip()}\n\n"
        f"{table(['option', 'meaning', 'default'], rows)}\n```\n{command.example}\n```\n"
    )


def _flags(option: click.Option) -> str:
    value = option.metavar or ""
    if isinstance(option.type, click.Choice):
        value = "|".join(option.type.choices)
    return f"`{' '.join([', '.join(option.opts), value]).strip()}`"


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    shown = isinstance(option.default, str | int | float) and not option.is_flag and option.default != ""
    return f"`{option.default}`" if shown else ""


def support_page() -> str:
    parts = ["# The operator, and what runs where\n\n", _operator_tables(), _support_table()]
    return "".join(parts)


def _operator_tables() -> str:
    dtypes = ", ".join(TENSOR_DTYPES)
    text = f"ONNX domain `{DOMAIN}`, version {DOMAIN_VERSION}. Data tensors are {dtypes}, all the same.\n"
    for operator in OPERATORS.values():
        tensors = [
            [f"input `{t.name}`", f"`{t.shape}`{', optional' * t.optional}{', always float32' * t.always_float32}"]
            for t in operator.inputs
        ]
        attributes = [[f"attribute `{a.name}` {a.type.value}", a.meaning] for a in operator.attributes]
        output = [[f"output `{operator.output.name}`", f"`{operator.output.shape}`"]]
        text += f"\n## {operator.op_type}\n\n{table(['', ''], [*tensors, *attributes, *output])}"
    return text


def _uses() -> Iterator[tuple[str, Use]]:
    """Give one use of the op per row of the table, by what is special about it."""
    plain = Use("hybrid", "onnxruntime", Neighborhood.of((7, 7), 1.0, dilation=(2, 2)))
    yield "two axes, dilation, bias", plain
    yield "one axis", replace(plain, neighborhood=Neighborhood.of((7,), 1.0))
    yield "three axes", replace(plain, neighborhood=Neighborhood.of((3, 7, 7), 1.0))
    yield "even window", replace(plain, neighborhood=Neighborhood.of((6, 4), 1.0))
    yield "stride, no bias", replace(plain, neighborhood=Neighborhood.of((7, 7), 1.0, stride=(2, 1)), has_rpb=False)
    yield "causal, no bias", replace(plain, neighborhood=Neighborhood.of((7, 7), 1.0, is_causal=(1, 0)), has_rpb=False)
    yield "stride or causal, with bias", replace(plain, neighborhood=Neighborhood.of((7, 7), 1.0, stride=(2, 1)))
    for dtype in TENSOR_DTYPES[1:]:
        yield dtype, replace(plain, dtype=dtype)


def _support_table() -> str:
    places = [("torch", FORMS[0]), *(("onnxruntime", form) for form in FORMS), ("onnx-reference", FORMS[0])]
    columns = ["", *(b if b == "torch" else f"{b}, {form}" for b, form in places)]
    notes: list[str] = []
    rows = []
    for name, use in _uses():
        cells = []
        for backend, form in places:
            reasons = unsupported_reasons(replace(use, backend=backend, form=form))
            notes += [reason for reason in reasons if reason not in notes]
            cells.append("no: " + ", ".join(str(notes.index(r) + 1) for r in reasons) if reasons else "yes")
        rows.append([name, *cells])
    listed = "\n".join(f"{i + 1}. {note}" for i, note in enumerate(notes))
    return f"\n## What runs where\n\n{table(columns, rows)}\n{listed}\n"


def schema_page(path: Path) -> str:
    schema = json.loads(path.read_text(encoding="utf-8"))
    rows = list(_fields(schema, schema["$defs"]))
    link = f"[`{path.name}`](../{path.relative_to(ROOT).as_posix()})"
    return (
        f"# {schema['title']}\n\n{schema['description']}\n\nThe schema is {link}. Fields in italics may be missing.\n\n"
        f"{table(['field', 'type', 'meaning'], rows)}"
    )


def _fields(schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str = "") -> Iterator[list[str]]:
    for name, field in schema["properties"].items():
        required = name in schema["required"]
        resolved = {**definitions[field["$ref"].rsplit("/", 1)[1]], **field} if "$ref" in field else field
        yield [f"`{prefix}{name}`" if required else f"*`{prefix}{name}`*", _type(resolved), field["description"]]
        if "properties" in resolved:
            yield from _fields(resolved, definitions, f"{prefix}{name}.")


def _type(field: Mapping[str, Any]) -> str:
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(types)


def main() -> None:
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
