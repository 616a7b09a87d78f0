"""What every command of `dlaflow remote` shares: how to reach boards, one display for all of them, Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

from dlaflow.api.claims import Use
from dlaflow.build.machine import Machine
from dlaflow.cli import terminal
from dlaflow.cli.options import Reaching, group
from dlaflow.errors import UsageError
from dlaflow.files import write_atomic
from dlaflow.progress import Interruption, Progress, silent
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.recipe.files import plain
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.doctor import has_other_chip, has_other_release, release_of
from dlaflow.remote.inventory import BoardEntry, UserCallbacks, answers_of, boards_of, on_every_board, open_board
from dlaflow.remote.jobs import JobControl
from dlaflow.remote.replay import RecordingTransport
from dlaflow.report.boards_text import board_table
from dlaflow.report.json import measurements_json
from dlaflow.targets.options import TargetOptions
from dlaflow.types import Measurement

T = TypeVar("T")


@group
@dataclass(frozen=True, kw_only=True)
class Connecting(Reaching):
    """How to reach the board and how long to wait for it."""

    attach: bool = False
    """Take up the same job that an earlier call started, running or done, rather than start it again."""
    record: Annotated[Path, Use.FOLDER] | None = None
    """Write down what the board answers, to be answered again by replay:FOLDER as the board."""
    quiet: terminal.Quiet = False

    @property
    def control(self) -> JobControl:
        """How Ctrl-C and --attach are handled."""
        return JobControl(attach=self.attach, ask_to_stop=ask_to_stop)


def each_board(text: str, connecting: Connecting, work: Callable[[RemoteBoard, BoardEntry], T]) -> dict[str, T]:
    """Do `work` on the board, or on all of an inventory at once; board → answer.

    Raises the board's own error where there is one board, else BoardsFailedError once all have ended.
    """
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


def ask_to_stop() -> bool:
    """Only a user can decide; without one the job goes on."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    with terminal.hidden_bars():
        sys.stderr.write("\nStop the job on the board too? It goes on otherwise. [y/N] ")
        sys.stderr.flush()
        try:
            return sys.stdin.readline().strip().lower() in {"y", "yes"}
        except KeyboardInterrupt:
            return False


def options_on(machine: Machine, options: TargetOptions, name: str) -> TargetOptions:
    """The options with the board's own release, which must not contradict them.

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
    return options


def own_path(path: Path, name: str, boards: int) -> Path:
    """`m.engine` of one board, `m.orin-1.engine` of each of several."""
    if boards == 1:
        return path
    return path.with_name(f"{path.stem}.{plain(name)}{path.suffix}")


def display(*, quiet: bool) -> AbstractContextManager[Progress]:
    """One display for the work of all boards: bars on a terminal, lines elsewhere, or nothing."""
    if quiet:
        return nullcontext(silent)
    return terminal.shared_bars() if sys.stderr.isatty() else nullcontext(terminal.line)


def show_measurements(found: dict[str, list[Measurement]], json: Path | None, connecting: Connecting) -> None:
    """Measurements of boards side by side, and as a file."""
    if json is not None:
        several = len(found) > 1
        rows = [
            replace(one, subject=f"{name} {one.subject}") if several else one
            for name, rows in found.items()
            for one in rows
        ]
        write_atomic(json, measurements_json(rows))
    if not connecting.quiet:
        terminal.console().print(board_table(found, "n and ± are of the repeats, 95% interval of the mean"))
        for rows in found.values():
            for detail in dict.fromkeys(row.detail for row in rows[:1]):
                terminal.console().print(detail, style="dim", markup=False)


def show_top1(what: Path, found: Mapping[str, tuple[Accuracy, str]], json: Path | None, connecting: Connecting) -> None:
    """The top-1 of `what` on each board, measured on images in words, and as a file; their throughput says nothing."""
    if json is not None:
        rows = [one.top1_measurement(f"{what.stem} on {name}", images) for name, (one, images) in found.items()]
        write_atomic(json, measurements_json(rows))
    for name, (accuracy, images) in found.items():
        terminal.say(terminal.top1_line(f"{what} on {name}", accuracy, images), quiet=connecting.quiet)
