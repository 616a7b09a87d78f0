"""For all tests: boards' answers to somebody's probes on this computer change nothing, and Ctrl-C works."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A job in the background of a script starts with SIGINT ignored, and what it starts would inherit that: Ctrl-C could
# not be tested. With a handler here, every program that a test starts has the default again.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_answers_of_boards(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for answers, empty."""
    folder = tmp_path_factory.getbasetemp() / "no-answers"
    monkeypatch.setenv("DLAFLOW_ANSWERS", str(folder))
    return folder
