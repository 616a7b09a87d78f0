"""Ctrl-C during a build in the library: C++ code returns to Python only when it is asked to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the user asked to stop."""

    asked = False


@contextmanager
def stoppable() -> Iterator[Interruption]:
    """Turn the first Ctrl-C into a request that callbacks pass on to the library; raise KeyboardInterrupt at the end.

    A second Ctrl-C ends the program as usual. Outside the main thread signals do not arrive, so nothing changes there.
    """
    requested = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def note(number: int, frame: FrameType | None) -> None:
        if requested.asked:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        requested.asked = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGINT, before)
        if requested.asked:
            raise KeyboardInterrupt
