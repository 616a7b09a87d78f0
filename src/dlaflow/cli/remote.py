"""`dlaflow remote BOARD COMMAND`: the same work on a Jetson over SSH, on this machine, on a recording, on a fleet."""

from __future__ import annotations

import sys
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from dlaflow.cli import remote_build, remote_measure, terminal
from dlaflow.cli.doctor import abilities_table, facts
from dlaflow.cli.options import Out
from dlaflow.cli.remote_options import Connecting, control, each_board
from dlaflow.errors import EXIT_DONE, InputError, UsageError, unknown_name
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.doctor import examine
from dlaflow.remote.inventory import BoardEntry
from dlaflow.remote.jobs import find_exactly, finish
from dlaflow.remote.records import Cleaned, JobList, JobState, Stopping

_HELP = """Do the work of a command on a board.

Usage: dlaflow remote BOARD COMMAND [OPTIONS]

BOARD is [USER@]HOST[:PORT] or a name of your ssh configuration, an inventory BOARDS.toml of several, `local` (this
machine) or `replay:FOLDER` (a recording made with --record).

Commands:
  doctor                      what the board is, and which of these commands work there
  build MODEL --out ENGINE    push the model, build there, pull engine, log and manifest
  profile ENGINE --out DIR    measure there with layer times, Nsight and power, then tell where the time goes
  bench --gpu E --dla E       GPU alone, each DLA core alone, all together: throughput, latency, power, energy
  power [--seconds N]         what the board draws as it is, rail by rail
  evaluate ENGINE --data ...  the accuracy of the engine itself, on pushed images
  probe MODEL                 let the board answer what `check` does not know
  jobs                        what runs there, and what ran
  attach JOB --out DIR        follow a job again and pull what it left
  stop JOB                    end a job
  clean [--days N]            forget old jobs and files

Examples:
  dlaflow remote jetson@orin doctor
  dlaflow remote jetson@orin build model.onnx --out model.engine --cache calib.cache
  dlaflow remote boards.toml bench --gpu gpu.engine --dla dla.engine --json bench.json

`dlaflow remote BOARD COMMAND --help` tells the options of a command.
"""

_Answer = TypeVar("_Answer")
commands = App(name="dlaflow remote BOARD", result_action="return_value", default_parameter=Parameter(negative=""))
remote = App(name="remote", help=_HELP, help_flags=[], version_flags=[], result_action="return_value")

commands.command(remote_build.build)
commands.command(remote_build.probe)
commands.command(remote_measure.profile)
commands.command(remote_measure.bench)
commands.command(remote_measure.power)
commands.command(remote_measure.evaluate)

NAMES = ("doctor", "build", "profile", "bench", "power", "evaluate", "probe", "jobs", "attach", "stop", "clean")


@remote.default
def choose(*words: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Find the command behind the board.

    Parameters
    ----------
    words
        BOARD COMMAND and the command's own words.
    """
    if not words or words[0] in {"--help", "-h", "help"} or words[1:2] in [("--help",), ("-h",)]:
        sys.stdout.write(_HELP)
        return EXIT_DONE
    if len(words) == 1:
        raise UsageError("no command for the board", expected=f"one of {', '.join(NAMES)}", received="none")
    board, name, *rest = words
    if name not in NAMES:
        then = f"The board comes first: dlaflow remote {name} {board} ..." if board in NAMES else None
        raise UsageError("unknown command", received=name, then=then) if then else unknown_name("command", name, NAMES)
    asked = [] if {"--help", "-h"} & set(rest) else [board]
    outcome = commands([name, *asked, *rest], exit_on_error=False, print_error=False)
    return outcome if isinstance(outcome, int) else EXIT_DONE


@commands.command
def doctor(board: str, /, *, connecting: Connecting = Connecting()) -> None:
    """Tell what the board is, what of dlaflow works there, and the command that installs what is missing."""
    found = each_board(board, connecting, lambda one, entry: examine(one))
    console = terminal.console()
    for name, checkup in found.items():
        if connecting.quiet:
            continue
        console.print(Text(name, "bold"))
        for title, value in facts(checkup.machine):
            console.print(Text(f"{title:<12}{value}"))
        console.print(abilities_table(checkup, "there"))


@commands.command
def jobs(board: str, /, *, connecting: Connecting = Connecting()) -> None:
    """List what runs on the board, and what ran."""
    found = each_board(board, connecting, lambda one, entry: _ask(one, "jobs", JobList).jobs)
    table = Table("board")
    table.add_column("job", no_wrap=True, min_width=28)
    for title in ("state", "what", "host"):
        table.add_column(title, overflow="fold")
    for name, states in found.items():
        for state in states:
            ended = f"{state.state} {state.why}".strip() if state.state != "running" else state.state
            table.add_row(*map(Text, (name, state.id, ended, state.title, state.host)))
    terminal.console().print(table if table.rows else "no jobs")


@commands.command
def attach(board: str, job: str, /, *, out: Out, connecting: Connecting = Connecting()) -> None:
    """Follow a job that an earlier call started, and pull all that it left.

    Parameters
    ----------
    job
        Its name, as `jobs` lists it.
    out
        The folder for its files.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}", then="Choose another folder.") from None

    def work(one: RemoteBoard, entry: BoardEntry) -> JobState:
        one.hello()
        return finish(one, find_exactly(one, job), out, control(connecting))

    (state,) = each_board(board, connecting, work).values()
    terminal.say(f"{state.id} {state.state} {state.why}: {len(state.outputs)} files in {out}")


@commands.command
def stop(board: str, job: str, /, *, connecting: Connecting = Connecting()) -> None:
    """End a job on the board; its clocks are put back.

    Parameters
    ----------
    job
        Its name, as `jobs` lists it.
    """
    each_board(board, connecting, lambda one, entry: _ask(one, "stop", Stopping, {"id": job}))
    terminal.console().print(f"{job} is asked to stop")


@commands.command
def clean(board: str, /, *, days: float = 14.0, connecting: Connecting = Connecting()) -> None:
    """Forget jobs that ended long ago, and files that no job used since.

    Parameters
    ----------
    days
        How old they must be.
    """
    if days < 0:
        raise UsageError("days cannot be negative", expected="0 or more", received=days)
    found = each_board(board, connecting, lambda one, entry: _ask(one, "clean", Cleaned, {"days": days}))
    for name, cleaned in found.items():
        outcome = "is busy; nothing was removed" if cleaned.answer == "busy" else f"forgot {cleaned.removed} jobs"
        terminal.say(f"{name} {outcome}")


def _ask(board: RemoteBoard, question: str, kind: type[_Answer], request: dict[str, object] | None = None) -> _Answer:
    """Ask the agent, which must be there first."""
    board.hello()
    return board.ask(question, kind, request)
