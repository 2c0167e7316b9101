"""Where commands are run that must fail."""

import pytest
from engines.pretended_machine import assert_used_well, pretended_machine


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory that must look the same afterwards, with a target that must not be touched."""
    (tmp_path / "out.onnx").write_bytes(b"what was there before")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A pretended GPU with both TensorRTs, on which nothing may be misused or left behind."""
    found = pretended_machine(monkeypatch, tmp_path)
    yield found
    assert_used_well(found)
