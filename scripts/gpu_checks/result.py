"""What a step found, and the file that a run's findings are kept in."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class StepResult:
    """Outcome of one step.

    Args:
        summary: One sentence.
        problems: What is wrong, one sentence each; none means passed.
        figures: Rows and numbers for the pages.
        skipped: Why nothing was done, where nothing was.
    """

    summary: str
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None

    @property
    def verdict(self) -> str:
        """``skipped``, ``failed`` or ``passed``."""
        if self.skipped:
            return "skipped"
        return "failed" if self.problems else "passed"

    def as_json(self, seconds: float) -> dict[str, Any]:
        """Give what the file keeps."""
        kept = {"verdict": self.verdict, "seconds": round(seconds, 1), "summary": self.skipped or self.summary}
        return {**kept, "problems": self.problems, "figures": self.figures}


class Record:
    """The file of one GPU, day and commit; written after every step, never half.

    Args:
        directory: Where it lies, ``docs/gpu``.
        gpu: What is known of the GPU; at least its name.
        library: What is known of the library.
    """

    def __init__(self, directory: Path, gpu: dict[str, Any], library: dict[str, Any]) -> None:
        today, commit = str(datetime.date.today()), commit_of(ROOT)
        slug = re.sub(r"[^a-z0-9]+", "-", str(gpu["name"]).lower()).strip("-")
        self.path = directory / f"{today}-{slug}-{commit.split('+')[0]}.json"
        self.document: dict[str, Any] = {"steps": {}}
        if self.path.exists():
            self.document = json.loads(self.path.read_text(encoding="utf-8"))
        head = {"schema": SCHEMA, "date": today, "commit": commit, "gpu": gpu, "library": library}
        self.document = {**head, "steps": self.document["steps"]}

    def keep(self, name: str, outcome: dict[str, Any]) -> None:
        """Add a step, in place of an earlier run of it, and write the file."""
        self.document["steps"][name] = outcome
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.path)


def commit_of(root: Path) -> str:
    """Give the commit of a checkout, with ``+`` where files differ; NATDEPLOY_COMMIT where git is not there."""
    if named := os.environ.get("NATDEPLOY_COMMIT"):
        return named
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()
