"""The terminal: consoles, progress bars, and what several commands say."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dlaflow.cli.streams import Output
from dlaflow.progress import Progress, Task, silent
from dlaflow.visible import text_of, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID
    from rich.text import Text

    from dlaflow.quantize.accuracy import Accuracy
    from dlaflow.types import Placement

Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], help="Print nothing but errors.")]

NARROWEST = 40
"""Columns that everything fits into."""

_SHOWN: ContextVar[RichProgress | None] = ContextVar("shown", default=None)
"""The display that several tasks share, so that a question can be asked in its place."""


def columns(elsewhere: int = 80) -> int:
    """The width of the terminal that stdout is, 40 at least; `elsewhere` where it is none, whose lines stay whole."""
    return max(shutil.get_terminal_size().columns, NARROWEST) if sys.stdout.isatty() else elsewhere


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The console for answers (stdout) or for everything else (stderr). Honours NO_COLOR and the terminal's width."""
    from dlaflow.cli.console import HarmlessConsole

    return HarmlessConsole(stderr=stderr, quiet=quiet, soft_wrap=not sys.stdout.isatty())


def say(*lines: str, stderr: bool = False, quiet: bool = False) -> None:
    """Print lines, each of which stays one whatever names it holds."""
    if lines and not quiet:
        (sys.stderr if stderr else sys.stdout).write(text_of(lines) + "\n")


def top1_line(title: str, accuracy: Accuracy, images: str) -> str:
    """What an evaluation found, in a line."""
    low, high = accuracy.interval
    return f"{title}: top-1 {accuracy.top1:.2%} ({low:.2%} to {high:.2%}), {images}"


@contextmanager
def telling_what_stays(folder: Path, finished: Sized, then: str, *, quiet: bool) -> Iterator[None]:
    """When this is interrupted: tell where the finished work stays, if any is, and what goes on from it."""
    try:
        yield
    except KeyboardInterrupt:
        if finished:
            say(f"Interrupted. What is finished stays in {folder}; {then} goes on.", stderr=True, quiet=quiet)
        raise


def styled(*parts: str | tuple[str, str]) -> Text:
    """A piece of text for a console: strings, and (string, style) pairs."""
    from dlaflow.cli import console

    return console.styled(*parts)


def say_unread(placement: Placement, *, quiet: bool) -> None:
    """Tell on stderr, before any number, that no engine comes out of the model as it is, or a wrong one."""
    from dlaflow.rules.reading import no_engine

    unread = no_engine(placement.findings)
    say(*(f"caution: {finding.message}. {finding.fix}" for finding in unread), stderr=True, quiet=quiet)


class _Bar:
    """One task of a display."""

    def __init__(self, display: RichProgress, task: TaskID) -> None:
        self._display = display
        self._task = task

    def advance(self, amount: float = 1) -> None:
        self._display.advance(self._task, amount)

    def describe(self, text: str) -> None:
        self._display.update(self._task, state=visible(text))


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
    amount = f"{task.done:,.0f} {unit}".strip() + " in " if task.done or total is not None else ""
    text = f"{title}: {amount}{time.monotonic() - start:.1f} s  {task.state}".rstrip()
    say(text, stderr=True)


@contextmanager
def bar(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
    """A progress bar on stderr with the time left; it leaves one line behind when it is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with _display(*columns, transient=False) as display:
        yield _Bar(display, display.add_task(visible(title), total=total, state=""))


@contextmanager
def passing_bar(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
    """A bar that goes away when its work is done: a line of the answer takes its place."""
    with shared_bars() as progress, progress(title, total, unit) as task:
        yield task


@contextmanager
def shared_bars() -> Iterator[Progress]:
    """One display for the tasks of several threads; each bar goes away when its work is done."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[state]}", style="dim", markup=False),
    )
    lock = threading.Lock()
    with _display(*columns, transient=True) as display:

        @contextmanager
        def progress(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
            with lock:
                task = display.add_task(visible(title), total=total, state="")
            try:
                yield _Bar(display, task)
            finally:
                with lock:
                    display.remove_task(task)

        shown = _SHOWN.set(display)
        try:
            yield progress
        finally:
            _SHOWN.reset(shown)


def _display(*columns: ProgressColumn, transient: bool) -> RichProgress:
    from rich.progress import Progress as RichProgress

    # What others write meanwhile must not go through rich, which obeys the escape sequences in it.
    return RichProgress(
        *columns, console=console(stderr=True), transient=transient, redirect_stdout=False, redirect_stderr=False
    )


@contextmanager
def hidden_bars() -> Iterator[None]:
    """While this is open, shared bars make room for a question."""
    display = _SHOWN.get()
    if display is not None:
        display.stop()
    try:
        yield
    finally:
        if display is not None:
            display.start()


def progress(*, quiet: bool) -> Progress:
    """The progress of a command: bars, lines where there is no terminal, or nothing when it is quiet."""
    if quiet:
        return silent
    return bar if sys.stderr.isatty() else line


@contextmanager
def fitted_output() -> Iterator[None]:
    """While this is open, long lines on a terminal break at words, under their own column; files get whole lines."""
    stream = sys.stdout
    if not (sys.stdout.isatty() and isinstance(stream, Output)):
        yield
        return
    stream.width = columns()
    try:
        yield
    finally:
        stream.width = None
