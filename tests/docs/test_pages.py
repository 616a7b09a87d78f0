"""The commands of README and documentation, run as they stand; and the pages against each other."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from dlaflow.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(Path(__file__).parent))

from console import Step, follow, steps_of, wrong  # noqa: E402


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def test_the_tutorial(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(DOCS / "tutorial.md", capsys) >= 15
    for name in ("report.html", "strips.svg", "table.md", "calib.cache", "model_int8.onnx"):
        assert (place / name).stat().st_size > 100
