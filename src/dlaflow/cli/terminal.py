"""The terminal: consoles, progress bars and the switches that every command shares."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dlaflow.progress import Progress, Task, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print nothing but errors.")]


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The console for answers (stdout) or for everything else (stderr). Honours NO_COLOR and the terminal's width."""
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=not sys.stdout.isatty())


class _BarTask:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._task, amount)

    def describe(self, text: str) -> None:
        self._bars.update(self._task, state=text)


class _LineTask:
    """Without a terminal there is no bar: one line when the work is done."""

    def __init__(self) -> None:
        self.done = 0.0
        self.state = ""

    def advance(self, amount: float = 1) -> None:
        self.done += amount

    def describe(self, text: str) -> None:
        self.state = text


@contextmanager
def line(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
    """One line on stderr when the work is done: for logs and pipes."""
    task, start = _LineTask(), time.monotonic()
    yield task
    amount = f"{task.done:,.0f} {unit}".strip()
    text = f"{title}: {amount} in {time.monotonic() - start:.1f} s  {task.state}".rstrip()
    sys.stderr.write(text + "\n")


@contextmanager
def bar(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
    """A progress bar on stderr with the time left; it leaves one line behind when it is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with RichProgress(*columns, console=console(stderr=True)) as bars:
        yield _BarTask(bars, bars.add_task(title, total=total, state=""))


def progress(*, quiet: bool) -> Progress:
    """The progress of a command: bars, lines where there is no terminal, or nothing when it is quiet."""
    if quiet:
        return silent
    return bar if sys.stderr.isatty() else line
