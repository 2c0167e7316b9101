"""Standard output and error: pipes, terminals, full disks, readers that go away; and our own bugs."""

import errno
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import (
    DIGITS,
    IMAGES,
    command_of,
    digits_onnx,
    edit_metadata,
    edited,
    one_paragraph,
    run,
    run_process,
)

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def on_a_terminal(*arguments: object, columns: int = 80) -> tuple[int, str]:
    """Run a command on a pseudo-terminal; gives its status and everything it wrote."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    process = subprocess.Popen(command_of(arguments), stdin=child, stdout=child, stderr=child, env=env)
    os.close(child)
    written = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError as error:  # Linux says EIO at the end
            assert error.errno == errno.EIO
            break
        if not chunk:
            break
        written += chunk
    os.close(parent)
    return process.wait(), written.decode()


def test_a_terminal_of_80_columns_cuts_nothing():
    status, text = on_a_terminal("inspect", digits_onnx())
    plain = ESCAPES.sub("", text).replace("\r", "")
    assert status == 0
    assert "\x1b[" in text
    assert max(map(len, plain.splitlines())) <= 80
    assert all(line == line.rstrip() for line in plain.splitlines())
    assert "pixel_values float32 [batch, 1, 32, 32]" in plain
    assert "…" not in plain
    for word in run("inspect", digits_onnx()).out.split():
        assert word in plain, word


def test_a_narrow_terminal_leaves_out_columns_rather_than_cutting_cells():
    status, text = on_a_terminal("verify", digits_onnx(), "--checkpoint", DIGITS, "--layers")
    plain = ESCAPES.sub("", text).replace("\r", "\n")
    assert status == 0
    assert re.search(r"^ *stage1\.block1\.attention .* agrees$", plain, re.MULTILINE)
    assert "verifying" in plain
    assert re.search(r"^ *logits +2x10 .*100\.0 % +agrees$", plain, re.MULTILINE)
    (header, *_) = (line for line in plain.splitlines() if line.split()[:1] == ["name"])
    assert header.split()[-1] == "verdict"
    assert "cosine" not in header


def test_a_terminal_shows_a_bar_for_many_images():
    status, text = on_a_terminal("infer", digits_onnx(), *IMAGES, "--top", "1", columns=200)  # fits any path
    assert status == 0
    assert "classifying 20 images" in ESCAPES.sub("", text)
    assert "━" in text
    assert all(image.stem[-6:] in ESCAPES.sub("", text) for image in IMAGES)


def test_a_pipe_gets_plain_text():
    result = run_process("infer", digits_onnx(), IMAGES[0])
    assert "\x1b" not in result.out + result.err
    assert len(result.out.splitlines()) == 6


def test_a_reader_that_goes_away_is_no_bug():
    process = subprocess.Popen(
        command_of(["inspect", digits_onnx()]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


@pytest.mark.parametrize("more", [[], ["--json"], ["--probes"]], ids=["table", "json", "names"])
def test_full_standard_output(more):
    with Path("/dev/full").open("w") as full:
        result = run_process("inspect", digits_onnx(), *more, stdout=full)
    one_paragraph(result, "cannot write the result to standard output", "No space left on device")


def test_labels_that_the_terminal_s_encoding_lacks(tmp_path):
    labels = ["zéro", "一", "\x1b[31mtwo\x07", "[bold]three[/bold]", "f\nour", "five", "six", "seven", "eight", "\\["]
    path = edited(digits_onnx(), tmp_path / "m.onnx", lambda m: edit_metadata(m, lambda d: d.update(labels=labels)))
    for encoding in ("ascii", "utf-8"):
        result = run_process(
            "infer", path, IMAGES[0], "--top", "10", env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        )
        assert result.status == 0
        assert "\x1b" not in result.out
        assert "\x07" not in result.out
        assert r"\x1b[31mtwo\x07" in result.out
        assert "[bold]three[/bold]" in result.out
        assert "f our" in result.out
        assert len(result.out.splitlines()) == 11
        assert all(line.endswith(" %") for line in result.out.splitlines()[1:])
    assert "一" in result.out
    (one,) = run("infer", path, IMAGES[0], "--top", "10", "--json").json
    assert {guess["label"] for guess in one["guesses"]} == set(labels)


def test_our_own_bugs_keep_their_traceback(monkeypatch):
    def broken(*arguments):
        raise ValueError("a bug of ours")

    monkeypatch.setattr("natdeploy.inspection.describe_file", broken)
    result = run("inspect", digits_onnx())
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Traceback")
    assert "ValueError: a bug of ours" in result.err
    assert "`python -m natdeploy.environment`" in result.err.splitlines()[-1]


def test_an_os_error_of_ours_is_a_bug_too(monkeypatch):
    def broken(*arguments):
        raise FileNotFoundError(errno.ENOENT, "No such file", "ours.json")

    monkeypatch.setattr("natdeploy.inspection.describe_file", broken)
    assert "Traceback" in run("inspect", digits_onnx()).err


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError(), "error: out of memory. Use a smaller image size or batch."),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "error: cannot use 'x'. Got: Permission denied."),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=["memory", "permission", "interrupt"],
)
def test_what_is_nobody_s_bug(monkeypatch, error, said):
    def broken(*arguments):
        raise error

    monkeypatch.setattr("natdeploy.inspection.describe_file", broken)
    result = run("inspect", digits_onnx())
    assert result.status == (130 if said == "interrupted" else 1)
    assert result.err.strip() == said


def test_the_report_for_bugs():
    done = subprocess.run([sys.executable, "-m", "natdeploy.environment"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["packages"]["numpy"]
