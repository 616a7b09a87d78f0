"""What a short command leaves out, and that it leaves the process as it found it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from dlaflow.cli.dispatch import short_lived

BLAS = "OPENBLAS_NUM_THREADS"


def test_the_process_is_as_before_whatever_happens(monkeypatch):
    monkeypatch.delenv(BLAS, raising=False)
    before = gc.get_threshold()

    def fail():
        with short_lived():
            assert gc.get_threshold()[0] > before[0]
            assert os.environ[BLAS] == "1"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.get_threshold() == before
    assert BLAS not in os.environ


def test_the_users_number_of_threads_stays(monkeypatch):
    monkeypatch.setenv(BLAS, "3")
    with short_lived():
        assert os.environ[BLAS] == "3"
    assert os.environ[BLAS] == "3"


def test_numpy_starts_no_threads_and_nothing_is_searched_at_the_exit():
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 0))\n"
        "from dlaflow.cli import main\n"
        "assert main(['explain', 'DLA110']) == 0 and main(['check', 'none.onnx']) == 2\n"
        "from dlaflow.cli.dispatch import short_lived\n"
        "with short_lived(): import numpy\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('Threads')))"
    )
    environment = {name: value for name, value in os.environ.items() if name != BLAS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-2:] == ["1", "frozen True"]
