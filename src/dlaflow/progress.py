"""How long work tells where it is, without knowing about terminals.

A function that takes long accepts `progress: Progress = silent`; the command line passes one that draws a bar
(`dlaflow.cli.terminal`). The numbers are in units of `unit` (images, batches, bytes, steps).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
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
