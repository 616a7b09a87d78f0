"""`dlaflow remote BOARD COMMAND`: the same work on a Jetson over SSH, on this machine, on a recording, on a fleet."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from dlaflow.api.build import configure, measuring_of, target_of
from dlaflow.api.claims import Written
from dlaflow.api.images import select
from dlaflow.api.profile import profile_json
from dlaflow.build.engine import BuildResult, Request
from dlaflow.build.manifest import BuiltFor
from dlaflow.cli import terminal
from dlaflow.cli.build import Engine, print_cautions, print_result
from dlaflow.cli.dispatch import perform
from dlaflow.cli.doctor import abilities_table, facts
from dlaflow.cli.options import Out, OutFolder, Source, Target
from dlaflow.cli.profile_view import comparison_view, profile_view
from dlaflow.cli.remote_loadable import LOADABLE
from dlaflow.cli.remote_options import Connecting, each_board, options_on, own_path, show_measurements, show_top1
from dlaflow.errors import EXIT_DONE, InputError, UsageError, unknown_name
from dlaflow.files import write_atomic
from dlaflow.placement.answers import keep
from dlaflow.profile.compare import compare_profiles
from dlaflow.profile.profile import Files, read_profile
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.feed import NetworkInput
from dlaflow.remote.bench import BenchOptions
from dlaflow.remote.bench import bench as run_bench
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.build import HOUR, RemoteBuild, build_on_board, builder_on
from dlaflow.remote.doctor import ask, examine
from dlaflow.remote.evaluate import RemoteEvaluation, evaluate_on_board
from dlaflow.remote.inventory import BoardEntry, boards_of
from dlaflow.remote.jobs import LONGEST, find_exactly, finish
from dlaflow.remote.power import IdleOptions
from dlaflow.remote.power import power as run_power
from dlaflow.remote.probe import Probed, ProbeOptions
from dlaflow.remote.probe import probe as run_probe
from dlaflow.remote.profile import RemoteProfile, profile_on_board
from dlaflow.remote.records import Cleaned, JobList, JobState, PowerOptions, Stopping
from dlaflow.types import Measurement

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
  loadable KIND FILE          inspect, run, bench or evaluate a DLA loadable there, through cuDLA
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

for _kind, _command in LOADABLE.items():
    commands.command(_command, name=f"loadable {_kind}")

NAMES = (
    "doctor",
    "build",
    "profile",
    "bench",
    "power",
    "evaluate",
    "loadable",
    "probe",
    "jobs",
    "attach",
    "stop",
    "clean",
)


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
    if name == "loadable":
        kind, *rest = rest or ["none"]
        if kind not in LOADABLE:
            raise unknown_name("command of loadable", kind, LOADABLE)
        name = f"loadable {kind}"
    asked = [] if {"--help", "-h"} & set(rest) else [board]
    outcome = perform(commands, [name, *asked, *rest])
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


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Running:
    """How to build on the board."""

    build_only: bool = False
    """Do not measure after the build."""
    timeout: float = 6 * HOUR
    """Seconds after which trtexec is stopped."""
    lock_clocks: bool = False
    """Fix the clocks at their highest for the build's measurement (needs sudo there); they are put back afterwards."""
    verbose: bool = False
    """Let trtexec log everything."""


@commands.command
def build(
    board: str,
    model: Path,
    /,
    *,
    out: Out,
    target: Target = Target(),
    engine: Engine = Engine(),
    running: Running = Running(),
    connecting: Connecting = Connecting(),
) -> None:
    """Build an engine on the board, and pull it with its log and manifest.

    The release is the board's own. A build goes on when the connection breaks; --attach finds it again. A board without
    trtexec builds through TensorRT's Python API, and does not measure.

    Parameters
    ----------
    model
        The ONNX model.
    out
        The engine to write; with several boards each adds its name.
    """
    if engine.timing_cache is not None:
        raise UsageError(
            "the board keeps no timing cache for another host", received="--timing-cache", then="Leave it out."
        )
    count = len(boards_of(board))

    def work(one: RemoteBoard, entry: BoardEntry) -> BuildResult:
        machine, facts = ask(one)
        on_board = target_of(options_on(machine, target, entry.title), engine)
        config = configure(model, on_board, engine)
        release, path = on_board.release, own_path(out, entry.title, count)
        only = running.build_only or config.standalone
        how = RemoteBuild(
            measuring_of(path, release.tensorrt, build_only=only, verbose=running.verbose),
            running.timeout,
            running.lock_clocks,
            connecting.control,
            builder_on(one, facts),
        )
        built_for = BuiltFor("tensorrt", release.tensorrt, on_board.board.id, release.name)
        return build_on_board(one, Request(model, path, config, built_for), how)

    for name, result in each_board(board, connecting, work).items():
        if not connecting.quiet:
            print_cautions(result.cautions)
            print_result(result, name)


@commands.command
def probe(
    board: str,
    model: Path,
    /,
    *,
    target: Target = Target(),
    every_layer: bool = False,
    again: bool = False,
    connecting: Connecting = Connecting(),
) -> None:
    """Let the board answer what `check` does not know: each unknown layer is built alone, and the answer is kept.

    Parameters
    ----------
    model
        The ONNX model.
    every_layer
        Ask about all layers, not only unknown ones.
    again
        Ask also what was answered before.
    """

    def work(one: RemoteBoard, entry: BoardEntry) -> Probed:
        machine, _ = ask(one)
        probing = ProbeOptions(everything=every_layer, again=again, control=connecting.control)
        return run_probe(one, model, options_on(machine, target, entry.title).target(), probing)

    for name, probed in each_board(board, connecting, work).items():
        place = keep(probed.answers) if probed.answers else None
        if connecting.quiet:
            continue
        asked = probed.answers.answers if probed.answers else ()
        lines = [
            f"{answer.device:<7} {answer.kind:<16} {answer.layer}  {answer.reason}".rstrip()
            for answer in (*asked, *probed.known)
        ]
        lines += [f"not asked {layer}: {why}" for layer, why in probed.skipped]
        kept = f"; kept in {place}" if place else ""
        terminal.say(*lines, f"{len(asked)} layers asked on {name}, {len(probed.known)} known before{kept}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Length:
    """How long to measure."""

    duration: int = 10
    """Seconds of each measurement."""
    power: Annotated[bool, Parameter(negative="--no-power")] = True
    """Measure power where the board can."""
    idle: float = 5.0
    """Seconds of idling before, as the baseline of power."""
    lock_clocks: bool = False
    """Fix the clocks at their highest meanwhile (needs sudo there); they are put back afterwards."""


@commands.command
def profile(
    board: str,
    engine: Path,
    /,
    *,
    out: OutFolder = Path("profile"),
    dla_core: int | None = None,
    no_nsys: bool = False,
    length: Length = Length(),
    json: Written | None = None,
    connecting: Connecting = Connecting(),
) -> None:
    """Measure an engine on the board with its layer times, and tell where the time goes.

    Parameters
    ----------
    engine
        The engine, with its manifest beside it.
    out
        The folder for log, layer times, time line and power; with several boards each adds its name.
    dla_core
        Another DLA core than the engine's own.
    no_nsys
        Leave out the time line of Nsight Systems.
    json
        Everything that was found, as records.
    """
    count = len(boards_of(board))

    def work(one: RemoteBoard, entry: BoardEntry) -> Files:
        power = PowerOptions(idle_s=length.idle) if length.power and _has_power(one) else None
        how = RemoteProfile(
            length.duration, dla_core, not no_nsys, power, clocks=length.lock_clocks, control=connecting.control
        )
        return profile_on_board(one, engine, own_path(out, entry.title, count), how)

    found = each_board(board, connecting, work)
    profiles = [read_profile(files) for files in found.values()]
    if json is not None:
        write_atomic(json, profile_json(profiles))
    if connecting.quiet:
        return
    console = terminal.console()
    for name, one in zip(found, profiles, strict=True):
        console.print(f"On {name}:", markup=False)
        console.print(profile_view(one))
    if len(profiles) > 1:
        console.print(comparison_view(compare_profiles(profiles), failures=False))


@commands.command
def bench(
    board: str,
    /,
    *,
    gpu: Path | None = None,
    dla: Path | None = None,
    core: tuple[int, ...] = (0, 1),
    repeats: int = 3,
    length: Length = Length(),
    json: Written | None = None,
    connecting: Connecting = Connecting(),
) -> None:
    """Measure the GPU alone, each DLA core alone and all together: throughput, latency, power, energy, contention.

    Parameters
    ----------
    gpu
        An engine for the GPU.
    dla
        An engine for the DLA.
    core
        The DLA cores to use.
    repeats
        How often each is measured; the spread is that of the repeats.
    json
        Also write the measurements to this file.
    """

    def work(one: RemoteBoard, entry: BoardEntry) -> list[Measurement]:
        options = BenchOptions(
            gpu=gpu,
            dla=dla,
            cores=core,
            duration=length.duration,
            repeats=repeats,
            idle=length.idle,
            power=length.power and _has_power(one),
            clocks=length.lock_clocks,
            control=connecting.control,
        )
        return run_bench(one, options)

    show_measurements(each_board(board, connecting, work), json, connecting)


@commands.command
def power(
    board: str, /, *, seconds: float = 10.0, json: Written | None = None, connecting: Connecting = Connecting()
) -> None:
    """Tell what the board draws as it is, rail by rail, with power mode: the baseline of all others.

    Parameters
    ----------
    seconds
        How long to sample.
    json
        Also write the measurements to this file.
    """

    def work(one: RemoteBoard, entry: BoardEntry) -> list[Measurement]:
        return run_power(one, IdleOptions(seconds, control=connecting.control))

    show_measurements(each_board(board, connecting, work), json, connecting)


@commands.command
def evaluate(
    board: str,
    engine: Path,
    /,
    *,
    source: Source,
    input: str | None = None,
    json: Written | None = None,
    connecting: Connecting = Connecting(),
) -> None:
    """Measure the top-1 of an engine on the board itself, with its 95% interval.

    trtexec loads the engine for each batch, so give a part of the images with --samples.

    Parameters
    ----------
    engine
        The engine, with its manifest beside it.
    input
        The name of its input, where the manifest does not tell it.
    json
        Also write the measurements to this file.
    """
    from dlaflow.build.manifest import read_manifest

    manifest = read_manifest(engine)
    shapes = manifest.config.shapes if manifest else ()
    fed = NetworkInput(
        shapes[0].name if shapes else input or "", shapes[0].shapes.usual[1:] if shapes else (3, None, None)
    )
    progress = terminal.progress(quiet=connecting.quiet)
    chosen = select(source.data, source, [fed], train=False, default=512, progress=progress)
    labels = chosen.known_labels
    batch = None if shapes else source.batch
    how = RemoteEvaluation(input=input, batch=batch, control=connecting.control)

    def work(one: RemoteBoard, entry: BoardEntry) -> Accuracy:
        return evaluate_on_board(one, engine, chosen.images, labels, how)

    found = each_board(board, connecting, work)
    show_top1(engine, {name: (accuracy, chosen.description) for name, accuracy in found.items()}, json, connecting)


def _has_power(board: RemoteBoard) -> bool:
    """Whether the board can tell its power; a desktop cannot, and is measured without."""
    board.hello()
    return "tegrastats" in board.facts().places


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
def attach(
    board: str, job: str, /, *, out: OutFolder, timeout: float = LONGEST, connecting: Connecting = Connecting()
) -> None:
    """Follow a job that an earlier call started, and pull all that it left.

    Parameters
    ----------
    job
        Its name, as `jobs` lists it.
    out
        The folder for its files.
    timeout
        Seconds to follow it at most; the job itself goes on.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}", then="Choose another folder.") from None

    def work(one: RemoteBoard, entry: BoardEntry) -> JobState:
        one.hello()
        return finish(one, find_exactly(one, job), out, connecting.control, timeout)

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
