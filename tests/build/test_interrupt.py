"""The first Ctrl-C is a request, and it is not lost."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from dlaflow.build.api import Phases, make_monitor
from dlaflow.progress import Interruption, silent, stoppable


def test_the_request_is_seen_inside_and_raised_at_the_end():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def interrupted():
        with stoppable() as requested:
            signal.raise_signal(signal.SIGINT)
            seen.append(requested.asked)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == [True]
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_request_nothing_happens():
    with stoppable() as requested:
        pass
    assert not requested.asked


def test_the_request_reaches_the_library(typed_machine):
    requested = Interruption()
    monitor: Any = make_monitor(typed_machine.trt, Phases(silent), requested)
    monitor.phase_start("Building engine", None, 2)
    assert monitor.step_complete("Building engine", 0) is True
    requested.asked = True
    assert monitor.step_complete("Building engine", 1) is False, "False asks TensorRT to stop"


def test_another_thread_is_left_alone():
    before, asked = signal.getsignal(signal.SIGINT), []

    def work():
        with stoppable() as requested:
            asked.append((requested.asked, signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [(False, True)]
