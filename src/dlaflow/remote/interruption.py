"""Ctrl-C for the threads of a fleet: only the main thread hears it, asks once, and each board's thread heeds it."""

from __future__ import annotations


class Interruption:
    """Whether the user left, and whether the boards' jobs are to end too."""

    def __init__(self) -> None:
        self.happened = False
        self.stop = False

    def decide(self, *, stop: bool) -> None:
        """The user left."""
        self.stop = stop
        self.happened = True

    def heed(self) -> None:
        """Raises KeyboardInterrupt once the user left."""
        if self.happened:
            raise KeyboardInterrupt
