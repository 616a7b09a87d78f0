"""The messages between the host and a board's agent, as records. The agent's side of the same lines is plain JSON.

`desk` is the host's name on the wire and in the state files of older agents. What a board may say is what these
types admit: plain names, sizes from 0, times that a calendar knows; an answer with anything else is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

JobKind = Literal["build", "profile", "bench", "evaluate", "probe", "power", "loadable"]
Program = Literal["trtexec", "bindings", "loadable", "nsys-profile", "nsys-export"]
Ending = Literal["running", "done", "failed", "stopped", "died"]
PlainName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")]
"""A file or a program, as agent/folder.py has it."""
JobId = Annotated[str, Meta(pattern=r"\A[a-z]+-[0-9a-f]{12}-[0-9a-f]{8}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Size = Annotated[int, Meta(ge=0, le=1 << 53, description="bytes")]
Seconds = Annotated[float, Meta(ge=0, le=1e11, description="of a span, or since 1970")]
Text = Annotated[str, Meta(max_length=2000)]
MOST_OUTPUTS = 4096
"""A probe of a large network leaves some hundred logs."""


class ProgramRun(msgspec.Struct, frozen=True, kw_only=True):
    """One program of a job; its output goes to NAME.log. File names are those of the job's own folder.

    `seconds` is its time limit, `flags` those of `nsys profile`, `report` the capture that nsys-export converts.
    """

    name: str
    program: Program = "trtexec"
    arguments: tuple[str, ...] = ()
    seconds: float = 3600.0
    flags: tuple[str, ...] = ()
    report: str = ""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that go together; the next phase begins when all have ended. A run that fails ends the job unless it may."""

    name: str
    runs: tuple[ProgramRun, ...]
    may_fail: bool = False


class PowerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sample power every `interval_ms`, first for `idle_s` seconds with nothing running."""

    idle_s: float = 5.0
    interval_ms: int = 100


class BoardJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the agent takes it. `files` maps names in the job's folder to hashes of pushed files."""

    id: str
    kind: JobKind
    title: str
    host: str = msgspec.field(name="desk")
    files: dict[str, str]
    phases: tuple[Phase, ...]
    power: PowerOptions | None = None
    clocks: bool = False


class OutputMark(msgspec.Struct, frozen=True):
    """A file that a job left."""

    bytes: Size
    sha256: Sha256


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How one program ended; times are the board's, in seconds since 1970."""

    name: PlainName
    phase: PlainName
    exit: int
    seconds: Seconds
    started: Seconds
    timed_out: bool


class PhaseSpan(msgspec.Struct, frozen=True, kw_only=True):
    """When a phase ran, by the board's clock, in seconds since 1970."""

    name: PlainName
    started: Seconds
    ended: Seconds


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job. `power` is where power came from (tegrastats, sysfs, or empty)."""

    id: JobId
    kind: Text
    state: Ending
    why: Text = ""
    host: Text = msgspec.field(default="", name="desk")
    title: Text = ""
    started: Seconds = 0.0
    ended: Seconds = 0.0
    files: tuple[PlainName, ...] = ()
    outputs: Annotated[dict[PlainName, OutputMark], Meta(max_length=MOST_OUTPUTS)] = {}
    runs: tuple[RunEnd, ...] = ()
    phases: tuple[PhaseSpan, ...] = ()
    power: Text = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a followed job: `phase` (name), `line` (run, text), `alive`, or `end` (state). `at` is an offset."""

    event: Text
    at: Size = 0
    name: Text = ""
    run: Text = ""
    text: Text = ""
    state: JobState | None = None


class AgentRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the agent does not serve a request; `error` is empty in every other answer."""

    error: str = ""
    text: str = ""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The board's own name and the agent's folder. `free` is in bytes."""

    host: Text
    root: str
    python: Text
    free: Size
    rsync: bool


class Have(msgspec.Struct, frozen=True, kw_only=True):
    """Which files the board lacks, and its free bytes."""

    missing: tuple[Sha256, ...]
    free: Size


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """The files that did not arrive whole."""

    wrong: tuple[Sha256, ...]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a busy board; empty where its agent does not know."""

    id: Text = ""
    kind: Text = "a job"
    host: Text = msgspec.field(default="another host", name="desk")


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """`started` or `known` with the job's state, or `busy` with who holds the board."""

    answer: Literal["started", "known", "busy"]
    state: JobState | None = None
    holder: Holder = Holder()


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a job that was asked to stop."""

    state: JobState


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """All jobs on a board, the oldest first."""

    jobs: tuple[JobState, ...]


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs were forgotten."""

    answer: Literal["cleaned", "busy"]
    removed: Size = 0


class CommandText(msgspec.Struct, frozen=True, kw_only=True):
    """A command and what it printed."""

    command: tuple[str, ...]
    text: str


class Bindings(msgspec.Struct, frozen=True, kw_only=True):
    """TensorRT's Python bindings; an empty version is none."""

    version: str = ""
    dla_cores: Annotated[int, Meta(ge=0, le=64)] | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's answers to the questions of `dlaflow doctor`."""

    files: dict[str, str] = {}
    commands: tuple[CommandText, ...] = ()
    places: dict[str, str] = {}
    paths: tuple[str, ...] = ()
    architecture: str = ""
    kernel: str = ""
    python: str = ""
    tensorrt: Bindings = Bindings()
