"""The lines of docs/engines.md on other tools: run as they stand where no GPU is needed, else held against `--help`."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import digits_onnx
from engines.rtx import PACKAGES
from plugins.trt_build import ENVIRONMENT, plugin_library
from side_environments import ROOT, as_installed_here, python_with

PAGE = (ROOT / "docs" / "engines.md").read_text("utf-8")
POLYGRAPHY = ("polygraphy==0.53.6", *PACKAGES, "numpy", *map(as_installed_here, ("onnx", "onnxruntime")))
NATDEPLOY = "import sys; sys.path[:] = {path!r}; from natdeploy.cli import main; main()"


def block(after: str) -> list[str]:
    """The lines of the shell block that follows some words of the page."""
    text = re.search(r"```sh\n(.*?)```", PAGE[PAGE.index(after) :], re.DOTALL)[1]
    return text.replace("\\\n", " ").splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with ``model.onnx`` and the programs that the page calls, each in an environment of its own."""
    folder = tmp_path_factory.mktemp("tools")
    shutil.copy(digits_onnx(), folder / "model.onnx")
    python = python_with(*POLYGRAPHY)
    (folder / "natdeploy.py").write_text(NATDEPLOY.format(path=sys.path))
    programs = {
        "polygraphy": f'exec "{python}" "{python.with_name("polygraphy")}" "$@"',
        "natdeploy": f'unset PYTHONPATH LD_LIBRARY_PATH; exec "{sys.executable}" "{folder / "natdeploy.py"}" "$@"',
        "python": f'exec "{python}" "$@"',
    }
    for name, line in programs.items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def shell(folder: Path, lines: list[str], **extra: str) -> str:
    """Run lines in one shell, which ends at the first that fails; gives what they printed."""
    environment = {**ENVIRONMENT, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    done = subprocess.run(
        command, cwd=folder, env={**environment, **extra}, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_polygraphy_finds_our_op_and_both_forms_agree_in_onnx_runtime(folder):
    lines = block("what is in\nthe file, and whether the two forms agree")
    assert [line.split()[0] for line in lines] == ["polygraphy", "polygraphy", "natdeploy", "polygraphy"]
    said = shell(folder, lines)
    assert "Op: PackedNeighborhoodAttention" in said
    assert said.count("[I] PASSED | Runtime") == 2
    assert "Pass Rate: 100.00%" in said


@pytest.mark.slow
def test_polygraphy_builds_an_engine_with_the_path_that_the_doctor_prints(folder):
    shell(folder, block("Polygraphy with TensorRT for RTX"), NATDEPLOY_PLUGIN_LIBRARY=str(plugin_library()))
    assert b"PackedNeighborhoodAttention" in (folder / "model.plan").read_bytes()


@pytest.mark.slow
def test_what_was_not_tried_has_options_that_polygraphy_knows(folder):
    lines = block("Polygraphy with TensorRT: **not tried**")
    assert len(lines) == 3
    for line in lines:
        command = line.split(" model.")[0]
        known = shell(folder, [f"{command} --help"])
        options = re.findall(r"(?<=\s)--?[a-z-]+", line.replace("--plugin-library", ""))
        assert len(options) >= 2
        assert [option for option in options if not re.search(rf"(^|\s|,){option}\b", known)] == []


def test_lines_of_trtexec_load_the_library_and_are_marked_as_not_tried():
    lines = block("trtexec: **not tried**")
    assert all(line.startswith("trtexec ") and '="$(natdeploy doctor --plugin-library)"' in line for line in lines)
    assert {option for line in lines for option in re.findall(r"--\w+Plugins", line)} == {
        "--dynamicPlugins",
        "--staticPlugins",
    }
