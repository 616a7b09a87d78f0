"""Jobs as the host sees them: start under the board's lock, follow over broken connections, find again, pull."""

from __future__ import annotations

import getpass
import hashlib
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dlaflow.errors import EnvironmentLacksError, UsageError
from dlaflow.progress import Interruption
from dlaflow.remote.board import Life, RemoteBoard
from dlaflow.remote.records import (
    BoardJob,
    JobKind,
    JobList,
    JobState,
    Phase,
    PowerOptions,
    RunEnd,
    Started,
    Stopping,
)
from dlaflow.remote.transport import Budget, ConnectionLostError, OverlongError

_BUSY_PAUSE = 0.5
_SETTLING_SECONDS = 10.0
"""A job that has just ended still holds the lock while it clears up."""
_ATTACHABLE = {"running", "done"}
LONGEST = 86400.0
"""Seconds that a job is followed whose own limits are not known here."""
_LONGEST_NAMES = 300
_BETWEEN, _AROUND = 60.0, 600.0
"""Seconds that the board may take to start and end the programs of a phase; to hash what they left, and all else."""
_MOST_EVENTS = 64 << 20
"""The agent passes on 5,000 lines of a program at most, of about 100 bytes; a long bench has 30 programs."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What to do on a board. `files` maps names in the job's folder to files of the host."""

    kind: JobKind
    title: str
    files: Mapping[str, Path]
    phases: tuple[Phase, ...]
    power: PowerOptions | None = None
    clocks: bool = False


@dataclass(frozen=True, slots=True)
class JobControl:
    """How to go about a job.

    `attach` takes the same job that an earlier call started, where there is one. `ask_to_stop` is asked at Ctrl-C
    whether the board's job is to end too; `on_line` hears what the programs print.
    """

    attach: bool = False
    ask_to_stop: Callable[[], bool] = lambda: False
    on_line: Callable[[str, str], None] = field(default=lambda run, text: None)


class LeftRunningError(EnvironmentLacksError):
    """The connection or the user left, the job goes on; the message names the way to find it."""

    def __init__(self, board: RemoteBoard, job: str, why: str = "") -> None:
        super().__init__(
            f"{why}the job {job} goes on on {board.name}",
            then=f"Find it again with --attach, or with `dlaflow remote {board.transport.name} attach {job}`.",
        )


def perform(board: RemoteBoard, options: JobOptions, folder: Path, control: JobControl | None = None) -> JobState:
    """Do a job and bring everything that it left into `folder`, whatever its ending; returns its state.

    Raises LeftRunningError when the connection or the user leaves, EnvironmentLacksError when the board is busy, full
    or lacks a program, KeyboardInterrupt when the user stopped the job.
    """
    control = control or JobControl()
    try:
        hashes = board.push(options.files)
    except ConnectionLostError as error:
        raise EnvironmentLacksError(
            f"{error.what}, during the push to {board.name}",
            then="Run the same command again: what arrived is not sent twice.",
        ) from None
    job = _job_of(options, hashes)
    known = find(board, job.id.rsplit("-", 1)[0]) if control.attach else None
    state = finish(board, known or _start(board, job), folder, control, _longest(options))
    told = sorted(run.name for phase in options.phases for run in phase.runs)
    ran = sorted(run.name for run in state.runs)
    if state.state == "done" and (ran != told or not state.outputs.keys() >= {f"{name}.log" for name in told}):
        raise EnvironmentLacksError(
            f"{board.name} did not do what it was told",
            expected=f"the logs of {', '.join(told)}"[:_LONGEST_NAMES],
            received=f"the programs {', '.join(ran) or 'none'} and the files {', '.join(state.outputs) or 'none'}"[
                :_LONGEST_NAMES
            ],
        )
    return state


@contextmanager
def performed(
    board: RemoteBoard, options: JobOptions, control: JobControl | None = None
) -> Iterator[tuple[JobState, Path]]:
    """Do a job that must end well; gives its state and the folder with what it left, which goes with the context.

    Raises as `perform` and `require_done` do.
    """
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as folder:
        state = perform(board, options, Path(folder), control)
        require_done(board, state)
        yield state, Path(folder)


def finish(
    board: RemoteBoard, state: JobState, folder: Path, control: JobControl | None = None, seconds: float = LONGEST
) -> JobState:
    """Follow a job to its end, for so many seconds, and pull what it left. Raises as `perform` does."""
    control = control or JobControl()
    try:
        state = _follow(board, state, control, seconds)
    except (ConnectionLostError, OverlongError) as error:
        raise LeftRunningError(board, state.id, f"{error.what}; ") from None
    except KeyboardInterrupt:
        wanted = board.interruption.stop if board.interruption.asked else control.ask_to_stop()
        if not wanted:
            raise LeftRunningError(board, state.id) from None
        board.ask("stop", Stopping, {"id": state.id})
        board.interruption = Interruption()
        _follow(board, state, JobControl(), _AROUND)
        raise
    board.pull(state, tuple(state.outputs), folder)
    return state


def find(board: RemoteBoard, start: str) -> JobState | None:
    """The newest job whose id begins with `start` and that runs or is done."""
    jobs = board.ask("jobs", JobList).jobs
    found = [job for job in jobs if job.id.startswith(start) and job.state in _ATTACHABLE]
    return found[-1] if found else None


def find_exactly(board: RemoteBoard, job: str) -> JobState:
    """A job by its id. Raises UsageError when the board has none of that name."""
    jobs = board.ask("jobs", JobList).jobs
    found = next((state for state in jobs if state.id == job), None)
    if found is None:
        names = ", ".join(state.id for state in jobs[-5:]) or "none"
        raise UsageError(f"{board.name} has no such job", expected=f"one of {names}", received=job)
    return found


def failed_run(state: JobState) -> RunEnd | None:
    """The program that made a job fail."""
    return next((run for run in state.runs if run.exit != 0), None)


def require_done(board: RemoteBoard, state: JobState) -> None:
    """Raises EnvironmentLacksError for a job that ended otherwise than well."""
    if state.state != "done":
        ending = {"stopped": "was stopped", "died": "was killed"}.get(state.state, state.state)
        raise EnvironmentLacksError(f"the job {state.id} on {board.name} {ending}: {state.why}")


def _job_of(options: JobOptions, hashes: dict[str, str]) -> BoardJob:
    """The id is the job's content, by which it is found again, and a random part, by which its runs differ."""
    # The title is the user's text, the only one that the board sees; control characters are none of its business.
    title = re.sub(r"[\x00-\x1f]", "?", options.title)[:200]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    body = msgspec.json.encode((options.kind, hashes, options.phases, options.power, options.clocks), order="sorted")
    name = f"{options.kind}-{hashlib.sha256(body).hexdigest()[:12]}-{secrets.token_hex(4)}"
    return BoardJob(
        id=name,
        kind=options.kind,
        title=title,
        host=f"{user}@{socket.gethostname()}"[:200],
        files=hashes,
        phases=options.phases,
        power=options.power,
        clocks=options.clocks,
    )


def _start(board: RemoteBoard, job: BoardJob) -> JobState:
    """Repeating is safe: the agent answers a known id with that job."""
    last = time.monotonic() + max(board.patience.busy, _SETTLING_SECONDS)
    with board.progress(f"{job.kind} on {board.name}", None) as task:
        while True:
            board.interruption.heed()
            answer = board.ask("start", Started, {"job": msgspec.to_builtins(job)})
            if answer.answer != "busy" and answer.state is not None:
                return same_job(board, answer.state, job.id)
            holder = answer.holder
            if time.monotonic() > last:
                raise EnvironmentLacksError(
                    f"{board.name} is busy with {holder.kind} {holder.id} of {holder.host}",
                    then="Wait for it (--wait SECONDS), or look at it with `dlaflow remote BOARD jobs`.",
                )
            task.describe(f"waits for {holder.host}")
            time.sleep(_BUSY_PAUSE)


def _follow(board: RemoteBoard, state: JobState, control: JobControl, seconds: float) -> JobState:
    """To the end of the job, over all broken connections; no event is heard twice, and only a new one is progress.

    Raises OverlongError after so many seconds, or for more events than any job of ours has.
    """
    offset, budget, life = 0, Budget(seconds, _MOST_EVENTS), Life()
    with board.progress(f"{state.kind} on {board.name}", None) as task:

        def listen() -> JobState:
            nonlocal offset
            for event in board.events(state.id, offset, budget):
                board.interruption.heed()
                life.sign()
                if event.state is not None:
                    return same_job(board, event.state, state.id)
                if event.at <= offset:
                    continue
                offset = event.at
                life.progress()
                if event.event == "phase":
                    task.describe(event.name)
                elif event.event == "line":
                    control.on_line(event.run, event.text)
            raise ConnectionLostError(f"the connection to {board.name} broke")

        return board.patiently(listen, life)


def same_job(board: RemoteBoard, state: JobState, job: str) -> JobState:
    """The state, when it is that of the job that was asked for. Raises EnvironmentLacksError.

    A recording has the same job under the random part that it had then.
    """
    if state.id.rpartition("-")[0] != job.rpartition("-")[0]:
        raise EnvironmentLacksError(f"{board.name} answers for another job", expected=job, received=state.id)
    return state


def _longest(options: JobOptions) -> float:
    """The seconds after which the board must have ended a job: its programs' limits, and time for itself."""
    programs = sum(max((run.seconds for run in phase.runs), default=0.0) + _BETWEEN for phase in options.phases)
    return programs + (options.power.idle_s if options.power else 0.0) + _AROUND
