"""What every command of `dlaflow remote` shares: how to reach boards, one display for all of them, Ctrl-C."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from dlaflow.build.machine import Machine
from dlaflow.cli import terminal
from dlaflow.cli.target_options import TargetOptions
from dlaflow.errors import UsageError
from dlaflow.progress import Interruption, Progress, Task, silent
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.doctor import has_other_chip, has_other_release, release_of
from dlaflow.remote.inventory import BoardEntry, UserCallbacks, answers_of, boards_of, on_every_board, open_board
from dlaflow.remote.jobs import JobControl
from dlaflow.remote.replay import RecordingTransport
from dlaflow.targets.target import Target

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_SHOWN: ContextVar[RichProgress | None] = ContextVar("shown", default=None)
"""The progress bars on the terminal: they are taken away while a question is asked."""
SWITCH = Parameter(negative="")
T = TypeVar("T")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Connecting:
    """How to reach the board and how long to wait for it."""

    ssh_config: Path | None = None
    """A configuration for ssh in place of ~/.ssh/config."""
    wait: float = 0.0
    """Seconds to wait while another host uses the board."""
    reconnect: float = 180.0
    """Seconds to go on trying when the connection breaks; the board's job goes on meanwhile."""
    attach: Annotated[bool, SWITCH] = False
    """Take up the same job that an earlier call started, running or done, rather than start it again."""
    record: Path | None = None
    """Write down what the board answers, to be answered again by replay:FOLDER as the board."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


def each_board(text: str, connecting: Connecting | None, work: Callable[[RemoteBoard, BoardEntry], T]) -> dict[str, T]:
    """Do `work` on the board, or on all of an inventory at once; board → answer.

    Raises the board's own error where there is one board, else BoardsFailedError once all have ended.
    """
    connecting = connecting or Connecting()
    entries = boards_of(text, connecting.ssh_config)
    if connecting.record is not None and len(entries) > 1:
        raise UsageError("one board is recorded at a time", received=f"--record with {len(entries)} boards")
    patience = Patience(reconnect=connecting.reconnect, busy=connecting.wait)
    with display(quiet=connecting.quiet) as progress:

        def one(entry: BoardEntry, interruption: Interruption | None = None) -> T:
            with open_board(entry, patience, progress, interruption) as board:
                if connecting.record is not None:
                    board.transport = RecordingTransport(board.transport, connecting.record)
                return work(board, entry)

        if len(entries) == 1:
            return {entries[0].title: one(entries[0])}
        results = on_every_board(entries, one, UserCallbacks(ask_to_stop, tell))
    return answers_of(results, tell)


def tell(text: str) -> None:
    """A line that a user must not miss."""
    terminal.console(stderr=True).print(text, markup=False, soft_wrap=True)


def control(connecting: Connecting | None) -> JobControl:
    """How Ctrl-C and --attach are handled."""
    return JobControl(attach=bool(connecting and connecting.attach), ask_to_stop=ask_to_stop)


def ask_to_stop() -> bool:
    """Only a user can decide; without one the job goes on."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    bars = _SHOWN.get()
    if bars is not None:
        bars.stop()
    sys.stderr.write("\nStop the job on the board too? It goes on otherwise. [y/N] ")
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
    except KeyboardInterrupt:
        return False
    finally:
        if bars is not None:
            bars.start()


def target_on(machine: Machine, options: TargetOptions, name: str) -> Target:
    """The target of the options with the board's own release, which must not contradict them.

    Raises UsageError when it does, or when neither tells the release.
    """
    installed = release_of(machine)
    if not options.tensorrt and not options.jetpack:
        if not installed:
            raise UsageError(
                f"{name} does not tell its TensorRT", expected="--tensorrt or --jetpack", received="neither"
            )
        options = replace(options, tensorrt=installed)
    target = options.target()
    if has_other_release(machine, target):
        raise UsageError(
            f"{name} has another TensorRT",
            expected=f"{target.release.tensorrt} (--tensorrt, --jetpack)",
            received=installed,
            then="Leave the release out: the board's own is taken.",
        )
    if has_other_chip(machine, target):
        raise UsageError(
            f"{name} is another board than {target.board.id}",
            expected=target.board.soc,
            received=machine.soc,
            then="Name it with --board; `dlaflow boards` lists them.",
        )
    return target


def own_path(path: Path, name: str, boards: int) -> Path:
    """`m.engine` of one board, `m.orin-1.engine` of each of several."""
    if boards == 1:
        return path
    plain = "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in name)
    return path.with_name(f"{path.stem}.{plain}{path.suffix}")


@contextmanager
def display(*, quiet: bool) -> Iterator[Progress]:
    """One display for the work of all boards: bars on a terminal, lines elsewhere, or nothing."""
    if quiet:
        yield silent
    elif not sys.stderr.isatty():
        yield terminal.line
    else:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[state]}"),
        )
        with Progress(*columns, console=terminal.console(stderr=True), transient=True) as bars:
            shown = _SHOWN.set(bars)
            try:
                yield _Bars(bars)
            finally:
                _SHOWN.reset(shown)


class _Bars:
    """A Progress that several threads share."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, title: str, total: float | None, unit: str = "") -> Iterator[Task]:
        with self._lock:
            task = self._bars.add_task(title, total=total, state="")
        try:
            yield _Bar(self._bars, task)
        finally:
            with self._lock:
                self._bars.remove_task(task)


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._task, amount)

    def describe(self, text: str) -> None:
        self._bars.update(self._task, state=text)
