"""How long work shows where it is and learns that it is to stop, without knowing about terminals.

A function that takes long accepts `progress: Progress = silent`; the command line passes one that draws a bar
(`dlaflow.cli.terminal`). The numbers are in units of `unit` (images, batches, bytes, steps).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Protocol


class Task(Protocol):
    """One piece of long work."""

    def advance(self, amount: float = 1) -> None:
        """Count `amount` more units as done."""

    def describe(self, text: str) -> None:
        """Show a short state beside the bar, such as `loss 1.23  top-1 78.1%`."""


class Progress(Protocol):
    """Opens tasks; a task closes with its context."""

    def __call__(self, title: str, total: float | None, unit: str = "") -> AbstractContextManager[Task]:
        """Open a task of `total` units (None: unknown)."""


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        return None

    def describe(self, text: str) -> None:
        return None


@contextmanager
def silent(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
    """A progress that shows nothing: the default of library functions."""
    yield _SilentTask()


class Interruption:
    """Whether the user asked to stop. Only the main thread receives Ctrl-C; whoever works asks here.

    `stop`: jobs that would go on on boards are to end too.
    """

    asked = False
    stop = False

    def decide(self, *, stop: bool) -> None:
        """The user asked to stop."""
        self.stop = stop
        self.asked = True

    def heed(self) -> None:
        """Raises KeyboardInterrupt once the user asked."""
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def stoppable() -> Iterator[Interruption]:
    """Turn the first Ctrl-C into a request that callbacks pass on to a C++ library; raise KeyboardInterrupt at the end.

    A SIGTERM that Python handles is kept back in the same way.

    A second Ctrl-C ends the program as usual. Outside the main thread signals do not arrive, so nothing changes there.
    """
    requested = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    asked_by: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if requested.asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        requested.asked = True
        asked_by.append(number)

    numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(each))]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, handler in before.items():
            if asked_by[:1] == [number] and callable(handler):
                handler(number, None)
        requested.heed()
