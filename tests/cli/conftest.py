"""Where commands are run that must fail."""

import pytest


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory that must look the same afterwards, with a target that must not be touched."""
    (tmp_path / "out.onnx").write_bytes(b"what was there before")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path
