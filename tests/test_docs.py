"""The generated documents say what the code says."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load_script():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_docs"] = module
    spec.loader.exec_module(module)
    return module


MAKE_DOCS = load_script()


@pytest.mark.parametrize("path", MAKE_DOCS.documents(), ids=lambda path: path.name)
def test_not_stale(path):
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    assert written == MAKE_DOCS.documents()[path], "stale: run python scripts/make_docs.py"


def test_every_command_option_and_field_is_there():
    text = {path.name: text for path, text in MAKE_DOCS.documents().items()}
    for name, command in MAKE_DOCS.cli.commands.items():
        section = text["cli.md"].split(f"## natdeploy {name}\n")[1].split("\n## ")[0]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
        assert all(re.search(rf"{option}[,` ]", section) for option in options), name
    assert "`preprocessing.crop_size`" in text["metadata.md"]
    assert "| stride, no bias | yes | no: " in text["support.md"]
