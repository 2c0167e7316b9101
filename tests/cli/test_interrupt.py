"""Ctrl-C: status 130, nothing half-written, no temporary directory left."""

import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import DIGITS, command_of, digits_onnx, run_process

# Ctrl-C at the worst moment: the new file stands complete beside the target, not yet renamed.
AT_THE_CHECK = """
import os, signal, onnx
def check_model(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
onnx.checker.check_model = check_model
"""

# Between the renaming of the external data and that of the model: the second must still happen.
BETWEEN_RENAMES = """
import os, signal, pathlib
rename = pathlib.Path.replace
def replace(source, target):
    rename(source, target)
    os.kill(os.getpid(), signal.SIGINT)
pathlib.Path.replace = replace
"""


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Children inherit an ignored SIGINT, which is what shells give to jobs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"what was there before")
    return tmp_path


def unchanged(place):
    assert list(place.iterdir()) == [place / "m.onnx"]
    assert (place / "m.onnx").read_bytes() == b"what was there before"


@pytest.mark.parametrize("more", [[], ["--external-data"]], ids=["one file", "external data"])
def test_while_a_file_is_written(place, more):
    result = run_process("lower", digits_onnx(), "-o", "m.onnx", *more, before=AT_THE_CHECK, cwd=place)
    assert result.status == 130
    assert result.out == ""
    assert result.err.split()[-1] == "interrupted"
    assert "Traceback" not in result.err
    unchanged(place)


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot wait on Windows")
def test_a_model_and_its_data_are_renamed_together(place):
    arguments = ("lower", digits_onnx(), "-o", "m.onnx", "--external-data", "--form", "plugin")
    result = run_process(*arguments, before=BETWEEN_RENAMES, cwd=place)
    assert result.status == 130
    assert sorted(path.name for path in place.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert run_process("inspect", place / "m.onnx").status == 0


@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_in_the_middle_of_an_export(place, delay):
    process = subprocess.Popen(
        command_of(["export", DIGITS, "-o", "m.onnx"]),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr.readline().startswith("exporting ")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.split() == ["interrupted"]
    unchanged(place)
