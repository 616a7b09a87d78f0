"""`dlaflow remote BOARD profile`: measure a finished engine on the board, and bring back all that `profile` reads."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.build.machine import Machine
from dlaflow.build.manifest import EngineManifest, Here, verify
from dlaflow.build.measuring import Measuring
from dlaflow.build.trtexec_arguments import load_arguments
from dlaflow.files import atomic_path
from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.help_text import parse_help
from dlaflow.profile.command import CaptureConfig, capture_commands
from dlaflow.profile.profile import Files
from dlaflow.remote.board import Board
from dlaflow.remote.build import ENGINE, HOUR, PROFILE
from dlaflow.remote.doctor import ask, release_of
from dlaflow.remote.jobs import Handling, JobOptions, perform, require_done
from dlaflow.remote.records import Facts, JobState, Phase, PowerOptions, Run

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
    handling: Handling = field(default_factory=Handling)


def profile_on_board(board: Board, engine: Path, folder: Path, how: RemoteProfile | None = None) -> Files:
    """Measure `engine` on the board and write log, layer profile, layer information, times and capture into `folder`.

    Raises InputError for an engine of another release or file than its manifest says, EnvironmentLacksError when the
    board lacks trtexec or the run fails.
    """
    how = how or RemoteProfile()
    machine, facts = ask(board)
    manifest, tensorrt = checked_engine(engine, machine)
    core = how.core if how.core is not None else (manifest.config.dla_core if manifest else None)
    measuring = Measuring(
        duration=how.duration,
        separate_profile_run=True,
        export_profile=PROFILE,
        export_layer_info=LAYERS,
        export_times=TIMES,
    )
    shapes = manifest.config.shapes if manifest else ()
    arguments = tuple(load_arguments(ENGINE, tensorrt, measuring, shapes, core))
    phases = [Phase(name=RUN, runs=(Run(name=RUN, arguments=arguments, seconds=how.seconds),))]
    if how.nsys and "nsys" in facts.places:
        phases += _capture(machine, facts, core, how.seconds)
    options = JobOptions("profile", engine.name, {ENGINE: engine}, tuple(phases), how.power, how.clocks)
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as pulled:
        state = perform(board, options, Path(pulled), how.handling)
        return _kept(board, state, Path(pulled), folder, engine.stem)


def checked_engine(engine: Path, machine: Machine) -> tuple[EngineManifest | None, str]:
    """The engine's manifest, and the release whose options trtexec is given.

    Raises InputError for an engine that the board could not load.
    """
    here = release_of(machine)
    manifest = verify(engine, Here("tensorrt", here))
    return manifest, here or (manifest.built_for.tensorrt if manifest else "") or "10.3.0"


def _capture(machine: Machine, facts: Facts, core: int | None, seconds: float) -> list[Phase]:
    known = next((text.text for text in facts.commands if text.command[:2] == ("nsys", "profile")), "")
    flags = parse_help(known) if known else None
    commands = capture_commands(
        CaptureConfig(Path(ENGINE), machine.jetpack, core, trtexec="trtexec", known_flags=flags)
    ).profile
    place = commands.index("trtexec")
    own = tuple(flag for flag in commands[2:place] if not flag.startswith(("--output", "--force-overwrite")))
    capture = Run(name=CAPTURE, program="nsys-profile", flags=own, arguments=commands[place + 1 :], seconds=seconds)
    export = Run(name=EXPORT, program="nsys-export", report=CAPTURE, seconds=seconds)
    # A time line is a bonus: the measurement stands without it.
    return [Phase(name=run.name, runs=(run,), may_fail=True) for run in (capture, export)]


def _is_usable(option: str, path: Path) -> bool:
    """A capture that failed on the board leaves a file that is none; it must not spoil the rest."""
    return option != "nsys" or detect(path) is Kind.NSYS_SQLITE


def _kept(board: Board, state: JobState, pulled: Path, folder: Path, stem: str) -> Files:
    names = {
        "log": (f"{RUN}.log", f"{stem}.log"),
        "layer_times": (PROFILE, f"{stem}.profile.json"),
        "layer_info": (LAYERS, f"{stem}.layers.json"),
        "times": (TIMES, f"{stem}.times.json"),
        "nsys": (f"{CAPTURE}.sqlite", f"{stem}.sqlite"),
        "tegrastats": (POWER, f"{stem}.tegrastats.log"),
    }
    found: dict[str, Path] = {}
    for option, (there, here) in names.items():
        if there in state.outputs and state.outputs[there].bytes and _is_usable(option, pulled / there):
            found[option] = folder / here
            with atomic_path(folder / here) as temporary:
                shutil.copyfile(pulled / there, temporary)
    require_done(board, state)
    return Files(
        log=found.get("log"),
        layer_times=found.get("layer_times"),
        layer_info=found.get("layer_info"),
        times=found.get("times"),
        nsys=found.get("nsys"),
        tegrastats=found.get("tegrastats"),
    )
