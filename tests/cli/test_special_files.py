"""Named pipes, sockets and devices where a file is meant: refused at once, where opening them would wait for ever."""

import os
import shutil
import signal
import socket

import pytest
from command_line import DIGITS, IMAGES, digits_onnx, one_paragraph, run
from engines.plans import write_plan

from natdeploy.engines.builder import _check_timing_cache
from natdeploy.engines.parser_input import parser_input
from natdeploy.errors import NatdeployError

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")

PIPE = ("Got: a named pipe. Needed: an ordinary file.",)


@pytest.fixture(autouse=True)
def no_waiting():
    """Let a test that waits fail."""

    def fail(number, frame):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path):
    """Give a function that makes a named pipe."""

    def make(*parts):
        path = tmp_path.joinpath(*parts)
        os.mkfifo(path)
        return path

    return make


@pytest.mark.parametrize("command", ["inspect", "infer", "verify", "lower", "convert"])
def test_instead_of_an_onnx_file(command, pipe):
    arguments = {"infer": [IMAGES[0]], "verify": ["--checkpoint", DIGITS], "inspect": []}
    rest = arguments.get(command, ["-o", "none.onnx"])
    one_paragraph(run(command, pipe("m.onnx"), *rest), "m.onnx'. Got: a named pipe")


def test_instead_of_what_engines_are_built_from(pipe, tmp_path):
    """Without TensorRT the command itself does not come that far."""
    with pytest.raises(NatdeployError, match=r"m\.onnx'\. Got: a named pipe"):
        parser_input(pipe("m.onnx"), tmp_path, strip_functions=False)
    with pytest.raises(NatdeployError, match=r"timing cache in .*times\.cache'\. Got: a named pipe"):
        _check_timing_cache(pipe("times.cache"))


def test_instead_of_an_image(pipe):
    one_paragraph(run("infer", digits_onnx(), pipe("a.png")), "a.png'", *PIPE)
    one_paragraph(run("verify", digits_onnx(), "--checkpoint", DIGITS, "--images", pipe("b.png")), "b.png'", *PIPE)


@pytest.mark.parametrize("option", ["--inputs", "--against"])
def test_instead_of_recorded_arrays(option, pipe):
    reference = ["--checkpoint", DIGITS] if option == "--inputs" else []
    one_paragraph(run("verify", digits_onnx(), *reference, option, pipe("a.npz")), "a.npz'", *PIPE)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_inside_a_checkpoint(name, pipe, tmp_path):
    shutil.copytree(DIGITS, tmp_path / "digits", ignore=shutil.ignore_patterns("images", name))
    pipe("digits", name)
    one_paragraph(run("export", tmp_path / "digits", "-o", tmp_path / "m.onnx"), f"{name}'", *PIPE)
    assert not (tmp_path / "m.onnx").exists()


def test_instead_of_a_checkpoint(pipe):
    result = run("inspect", pipe("model.pth"), "--variant", "nat_mini")
    one_paragraph(result, "model.pth'", *PIPE)


def test_instead_of_a_plan_or_its_sidecar(pipe, tmp_path):
    one_paragraph(run("inspect", pipe("a.plan")), "a.plan'", *PIPE)
    plan = write_plan(tmp_path / "b.plan")
    plan.with_name(f"{plan.name}.json").unlink()
    pipe(f"{plan.name}.json")
    one_paragraph(run("inspect", plan), f"{plan.name}.json'", *PIPE)


def test_where_a_file_is_to_be_written(pipe, tmp_path):
    target = pipe("m.onnx")
    (tmp_path / "m.onnx.data").touch()
    one_paragraph(run("lower", digits_onnx(), "-o", target), "cannot write", "Got: a named pipe of that name")


def test_sockets_and_devices(tmp_path):
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    one_paragraph(run("infer", digits_onnx(), tmp_path / "zero.png"), "zero.png'. Got: a device")
    with socket.socket(socket.AF_UNIX) as one:
        directory = os.open(tmp_path, os.O_RDONLY)
        try:
            one.bind(f"/proc/self/fd/{directory}/socket.png")  # a name of its own is limited to some 100 characters
        finally:
            os.close(directory)
        one_paragraph(run("infer", digits_onnx(), tmp_path / "socket.png"), "socket.png'. Got: a socket")
