"""The first Ctrl-C is a wish, and it is not lost."""

from __future__ import annotations

import signal
import threading

import pytest

from dlaflow.build.interrupt import Interruption, stoppable
from dlaflow.build.monitor import Phases, make_monitor
from dlaflow.progress import silent


def test_the_wish_is_seen_inside_and_raised_at_the_end():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def interrupted():
        with stoppable() as wish:
            signal.raise_signal(signal.SIGINT)
            seen.append(wish.asked)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == [True]
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_wish_nothing_happens():
    with stoppable() as wish:
        pass
    assert not wish.asked


def test_the_wish_reaches_the_library(typed_machine):
    wish = Interruption()
    monitor = make_monitor(typed_machine.trt, Phases(silent), wish)
    monitor.phase_start("Building engine", None, 2)
    assert monitor.step_complete("Building engine", 0) is True
    wish.asked = True
    assert monitor.step_complete("Building engine", 1) is False, "False asks TensorRT to stop"


def test_another_thread_is_left_alone():
    before, asked = signal.getsignal(signal.SIGINT), []

    def work():
        with stoppable() as wish:
            asked.append((wish.asked, signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [(False, True)]
