"""The terminal: consoles, progress bars, lines that fit, and what several commands say."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, TextIO, cast

from cyclopts import Parameter

from dlaflow.progress import Progress, Task, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

    from dlaflow.types import Placement

Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], help="Print nothing but errors.")]

_GAPS = re.compile(r"\s{2,}")
_HANGING = 4
_NARROWEST = 24
"""A column that would be narrower than this is not worth keeping: the rest then hangs under the start of the line."""
_SHOWN: ContextVar[RichProgress | None] = ContextVar("shown", default=None)
"""The display that several tasks share, so that a question can be asked in its place."""


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The console for answers (stdout) or for everything else (stderr). Honours NO_COLOR and the terminal's width."""
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=not sys.stdout.isatty())


def say(*lines: str, stderr: bool = False, quiet: bool = False) -> None:
    """Print lines as they are: square brackets in a name are no markup."""
    shown = console(stderr=stderr, quiet=quiet)
    for line in lines:
        shown.print(line, markup=False)


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
        self._display.update(self._task, state=text)


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
    with _display(*columns, transient=False) as display:
        yield _Bar(display, display.add_task(title, total=total, state=""))


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
        TextColumn("  {task.description}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[state]}"),
    )
    lock = threading.Lock()
    with _display(*columns, transient=True) as display:

        @contextmanager
        def progress(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
            with lock:
                task = display.add_task(title, total=total, state="")
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

    return RichProgress(*columns, console=console(stderr=True), transient=transient)


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


def fit(line: str, width: int) -> str:
    """The line in at most `width` columns (where words allow it), continued under its last column.

    Lines that hold escape sequences were laid out by someone who knew the width, and stay.
    """
    if len(line) <= width or "\x1b" in line:
        return line
    start = len(line) - len(line.lstrip())
    columns = [gap.end() for gap in _GAPS.finditer(line) if gap.start() > start]
    under = next((at for at in reversed(columns) if at <= width - _NARROWEST), start + _HANGING)
    parts = textwrap.wrap(
        line.strip(),
        width,
        initial_indent=" " * start,
        subsequent_indent=" " * under,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts)


class _Fitted:
    """A terminal whose long lines are fitted; everything else is the terminal's own."""

    def __init__(self, stream: TextIO, width: int) -> None:
        self._stream = stream
        self._width = width

    def write(self, text: str) -> int:
        return self._stream.write("\n".join(fit(line, self._width) for line in text.split("\n")))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def fitted_output() -> Iterator[None]:
    """While this is open, long lines on a terminal break at words, under their own column; files get whole lines."""
    if not sys.stdout.isatty():
        yield
        return
    stream = sys.stdout
    sys.stdout = cast("TextIO", _Fitted(stream, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        sys.stdout = stream
