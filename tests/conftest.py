"""For all tests: what boards answered to somebody's probes on this computer must not change what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_answers_of_boards(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for answers, empty."""
    folder = tmp_path_factory.getbasetemp() / "no-answers"
    monkeypatch.setenv("DLAFLOW_ANSWERS", str(folder))
    return folder
