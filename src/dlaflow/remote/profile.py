"""`dlaflow remote BOARD profile`: measure a finished engine on the board, and bring back all that `profile` reads."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.build.config import InputShape
from dlaflow.build.machine import Machine
from dlaflow.build.manifest import Here, verify
from dlaflow.build.trtexec_arguments import Measuring, load_arguments
from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.help_text import parse_help
from dlaflow.profile.command import CaptureConfig, capture_commands
from dlaflow.profile.profile import Files
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.build import ENGINE, HOUR, PROFILE, put
from dlaflow.remote.doctor import ask, release_of
from dlaflow.remote.jobs import JobControl, JobOptions, perform, require_done
from dlaflow.remote.records import Facts, JobState, Phase, PowerOptions, ProgramRun

LAYERS, TIMES, POWER = "layers.json", "times.json", "tegrastats.log"
RUN, CAPTURE, EXPORT = "profile", "capture", "export"


@dataclass(frozen=True, slots=True)
class RemoteProfile:
    """How to profile: `duration` in seconds, `core` in place of the engine's DLA core, with or without nsys."""

    duration: int = 10
    core: int | None = None
    nsys: bool = True
    power: PowerOptions | None = None
    seconds: float = HOUR
    clocks: bool = False
    control: JobControl = field(default_factory=JobControl)


def profile_on_board(board: RemoteBoard, engine: Path, folder: Path, how: RemoteProfile | None = None) -> Files:
    """Measure `engine` on the board and write log, layer profile, layer information, times and capture into `folder`.

    Raises InputError for an engine of another release or file than its manifest has, EnvironmentLacksError when the
    board lacks trtexec or the run fails.
    """
    how = how or RemoteProfile()
    machine, facts = ask(board)
    checked = checked_engine(engine, machine)
    core = checked.core if how.core is None else how.core
    measuring = Measuring(
        duration=how.duration,
        separate_profile_run=True,
        export_profile=PROFILE,
        export_layer_info=LAYERS,
        export_times=TIMES,
    )
    arguments = tuple(load_arguments(ENGINE, checked.tensorrt, measuring, checked.shapes, core))
    phases = [Phase(name=RUN, runs=(ProgramRun(name=RUN, arguments=arguments, seconds=how.seconds),))]
    if how.nsys and "nsys" in facts.places:
        phases += _capture(machine, facts, core, how.seconds)
    options = JobOptions("profile", engine.name, {ENGINE: engine}, tuple(phases), how.power, how.clocks)
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as pulled:
        state = perform(board, options, Path(pulled), how.control)
        return _kept(board, state, Path(pulled), folder, engine.stem)


@dataclass(frozen=True, slots=True)
class CheckedEngine:
    """What trtexec needs to load an engine: the release whose options it knows; shapes and DLA core of the manifest."""

    tensorrt: str
    shapes: tuple[InputShape, ...] = ()
    core: int | None = None


def checked_engine(engine: Path, machine: Machine) -> CheckedEngine:
    """The engine by its manifest, where it has one. Raises InputError for an engine that the board could not load."""
    release = release_of(machine)
    manifest = verify(engine, Here("tensorrt", release))
    if manifest is None:
        return CheckedEngine(release or "10.3.0")
    return CheckedEngine(release or manifest.built_for.tensorrt, manifest.config.shapes, manifest.config.dla_core)


def _capture(machine: Machine, facts: Facts, core: int | None, seconds: float) -> list[Phase]:
    known = next((text.text for text in facts.commands if text.command[:2] == ("nsys", "profile")), "")
    flags = parse_help(known) if known else None
    commands = capture_commands(
        CaptureConfig(Path(ENGINE), machine.jetpack, core, trtexec="trtexec", known_flags=flags)
    ).profile
    place = commands.index("trtexec")
    own = tuple(flag for flag in commands[2:place] if not flag.startswith(("--output", "--force-overwrite")))
    capture = ProgramRun(
        name=CAPTURE, program="nsys-profile", flags=own, arguments=commands[place + 1 :], seconds=seconds
    )
    export = ProgramRun(name=EXPORT, program="nsys-export", report=CAPTURE, seconds=seconds)
    # A time line is a bonus: the measurement stands without it.
    return [Phase(name=run.name, runs=(run,), may_fail=True) for run in (capture, export)]


def _kept(board: RemoteBoard, state: JobState, pulled: Path, folder: Path, stem: str) -> Files:
    def kept(name: str, ending: str) -> Path | None:
        mark, target = state.outputs.get(name), folder / f"{stem}{ending}"
        if mark is None or not mark.bytes:
            return None
        # A capture that failed on the board leaves a file that is none; it must not spoil the rest.
        if name.endswith(".sqlite") and detect(pulled / name) is not Kind.NSYS_SQLITE:
            return None
        put(pulled / name, target)
        return target

    files = Files(
        log=kept(f"{RUN}.log", ".log"),
        layer_times=kept(PROFILE, ".profile.json"),
        layer_info=kept(LAYERS, ".layers.json"),
        times=kept(TIMES, ".times.json"),
        nsys=kept(f"{CAPTURE}.sqlite", ".sqlite"),
        tegrastats=kept(POWER, ".tegrastats.log"),
    )
    require_done(board, state)
    return files
