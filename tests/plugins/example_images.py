"""Recipes, images and the C++ program of tests/cpp/examples/read_images.cpp that reads them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from plugins.example_build import has_libpng, read_images

from natdeploy.preprocessing import Preprocessing

LIMITS = {"ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1", "UBSAN_OPTIONS": "print_stacktrace=1"}


def document(recipe: Preprocessing, **changes: Any) -> dict[str, Any]:
    """Metadata, as far as the examples read it."""
    whole = {"schema": 1, "labels": [], "outputs": ["logits"], "sizes": {"batch": None}}
    return {**whole, "preprocessing": recipe.to_json(), **changes}


@dataclass(frozen=True)
class Job:
    """A document and an image, which need not be valid."""

    document: Path
    image: Path


class Program:
    """The program, and a folder for what it writes."""

    def __init__(self, directory: Path, command: Sequence[object] | None = None) -> None:
        self.directory = directory
        self._command = command or read_images(sanitized=False, png=has_libpng())

    def write_document(self, content: dict[str, Any] | bytes, name: str = "metadata.json") -> Path:
        """Write a document."""
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def run(self, jobs: list[Job]) -> list[str]:
        """Run jobs; gives ``ok`` or a sentence for each."""
        lines = [f"{job.document}\t{job.image}\t{self.output(i)}" for i, job in enumerate(jobs)]
        done = subprocess.run(
            self._command,
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env=LIMITS,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[-8000:]
        found = done.stdout.splitlines()
        assert len(found) == len(jobs)
        return found

    def output(self, number: int) -> Path:
        """Where the job of this number wrote its result."""
        return self.directory / f"{number}.raw"

    def values(self, number: int, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What a job wrote, in the type and shape of what is expected."""
        return np.fromfile(self.output(number), like.dtype).reshape(like.shape)
