"""`dlaflow remote BOARD profile`, `bench` and `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.api.images import select
from dlaflow.api.profile import profile_json
from dlaflow.cli import terminal
from dlaflow.cli.options import Out, Source
from dlaflow.cli.profile_view import comparison_view, profile_view
from dlaflow.cli.remote_options import Connecting, control, each_board, own_path
from dlaflow.files import write_atomic
from dlaflow.profile.compare import compare_profiles
from dlaflow.profile.profile import Files, read_profile
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.remote.bench import BenchOptions
from dlaflow.remote.bench import bench as run_bench
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.evaluate import RemoteEvaluation, evaluate_on_board
from dlaflow.remote.inventory import BoardEntry, boards_of
from dlaflow.remote.power import IdleOptions
from dlaflow.remote.power import power as run_power
from dlaflow.remote.profile import RemoteProfile, profile_on_board
from dlaflow.remote.records import PowerOptions
from dlaflow.report.boards_text import board_table
from dlaflow.report.json import measurements_json
from dlaflow.types import Measurement


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


def profile(
    board: str,
    engine: Path,
    /,
    *,
    out: Out = Path("profile"),
    dla_core: int | None = None,
    no_nsys: bool = False,
    length: Length | None = None,
    json: Path | None = None,
    connecting: Connecting | None = None,
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
    length = length or Length()
    count = len(boards_of(board))

    def work(one: RemoteBoard, entry: BoardEntry) -> Files:
        power = PowerOptions(idle_s=length.idle) if length.power and _has_power(one) else None
        how = RemoteProfile(
            length.duration,
            dla_core,
            not no_nsys,
            power,
            clocks=length.lock_clocks,
            control=control(connecting),
        )
        return profile_on_board(one, engine, own_path(out, entry.title, count), how)

    found = each_board(board, connecting, work)
    profiles = [read_profile(files) for files in found.values()]
    if json is not None:
        write_atomic(json, profile_json(profiles))
    if connecting and connecting.quiet:
        return
    console = terminal.console()
    for name, one in zip(found, profiles, strict=True):
        console.print(f"On {name}:", markup=False)
        console.print(profile_view(one))
    if len(profiles) > 1:
        console.print(comparison_view(compare_profiles(profiles)))


def bench(
    board: str,
    /,
    *,
    gpu: Path | None = None,
    dla: Path | None = None,
    core: tuple[int, ...] = (0, 1),
    repeats: int = 3,
    length: Length | None = None,
    json: Path | None = None,
    connecting: Connecting | None = None,
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
    length = length or Length()

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
            control=control(connecting),
        )
        return run_bench(one, options)

    _tell(each_board(board, connecting, work), json, connecting)


def power(
    board: str,
    /,
    *,
    seconds: float = 10.0,
    json: Path | None = None,
    connecting: Connecting | None = None,
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
        return run_power(one, IdleOptions(seconds, control=control(connecting)))

    _tell(each_board(board, connecting, work), json, connecting)


def evaluate(
    board: str,
    engine: Path,
    /,
    *,
    source: Source,
    input: str | None = None,
    json: Path | None = None,
    connecting: Connecting | None = None,
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
    shape = shapes[0].shapes.usual[1:] if shapes else (3, None, None)
    progress = terminal.progress(quiet=bool(connecting and connecting.quiet))
    chosen = select(source.data, source, shape, train=False, default=512, progress=progress)
    labels = chosen.known_labels
    batch = None if shapes else source.batch
    how = RemoteEvaluation(input=input, batch=batch, control=control(connecting))

    def work(one: RemoteBoard, entry: BoardEntry) -> Accuracy:
        return evaluate_on_board(one, engine, chosen.images, labels, how)

    found = each_board(board, connecting, work)
    rows = [
        row
        for name, accuracy in found.items()
        for row in accuracy.measurements(f"{engine.stem} on {name}", detail=chosen.description)
        if row.quantity == "top1"
    ]
    if json is not None:
        write_atomic(json, measurements_json(rows))
    if connecting and connecting.quiet:
        return
    for name, accuracy in found.items():
        low, high = accuracy.interval
        terminal.console().print(
            f"{engine} on {name}: top-1 {accuracy.top1:.2%} ({low:.2%} to {high:.2%}), {chosen.description}",
            markup=False,
        )


def _tell(found: dict[str, list[Measurement]], json: Path | None, connecting: Connecting | None) -> None:
    """Measurements of boards side by side, and as a file."""
    if json is not None:
        several = len(found) > 1
        rows = [
            replace(one, subject=f"{name} {one.subject}") if several else one
            for name, rows in found.items()
            for one in rows
        ]
        write_atomic(json, measurements_json(rows))
    if not (connecting and connecting.quiet):
        terminal.console().print(board_table(found, "n and ± are of the repeats, 95% interval of the mean"))
        for rows in found.values():
            for detail in dict.fromkeys(row.detail for row in rows[:1]):
                terminal.console().print(detail, style="dim", markup=False)


def _has_power(board: RemoteBoard) -> bool:
    """Whether the board can tell its power; a desktop cannot, and is measured without."""
    board.hello()
    return "tegrastats" in board.facts().places
