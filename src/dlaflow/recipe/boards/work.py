"""What each step on a board does: a call into `dlaflow.remote`, and its result in a few words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.build.config import InputShape, ShapeRange
from dlaflow.build.engine import Request
from dlaflow.build.manifest import manifest_path
from dlaflow.build.model import shapes_for
from dlaflow.build.trtexec_arguments import BUILD_ONLY
from dlaflow.files import write_atomic
from dlaflow.graph.inputs import dims_of, fed_inputs
from dlaflow.graph.load import load_model
from dlaflow.profile.profile import read_profile
from dlaflow.progress import Progress
from dlaflow.recipe.data import RunData
from dlaflow.recipe.files import BoardFiles
from dlaflow.recipe.schema import RemoteSection
from dlaflow.remote.bench import BenchOptions
from dlaflow.remote.bench import bench as run_bench
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.build import RemoteBuild, build_on_board
from dlaflow.remote.evaluate import RemoteEvaluation, evaluate_on_board
from dlaflow.remote.jobs import JobControl
from dlaflow.remote.profile import RemoteProfile, profile_on_board
from dlaflow.remote.records import PowerOptions
from dlaflow.report.json import measurements_json, read_placement
from dlaflow.report.units import count, percent

if TYPE_CHECKING:
    from dlaflow.targets.target import Target


@dataclass(frozen=True, slots=True)
class BoardAtWork:
    """A board at work: its connection, its name in the run, its release, whether it tells power, how to go about it."""

    board: RemoteBoard
    name: str
    tensorrt: str
    jetpack: str
    power: bool
    options: RemoteSection
    control: JobControl


def build(board: BoardAtWork, request: Request, progress: Progress) -> str:
    """Build on the board; the engine, its log and its manifest come back."""
    request.engine.parent.mkdir(parents=True, exist_ok=True)
    how = RemoteBuild(BUILD_ONLY, board.options.timeout, board.options.lock_clocks, board.control)
    result = build_on_board(board.board, request, how)
    summary = f"{result.manifest.bytes / 1e6:.1f} MB in {result.manifest.seconds:.1f} s"
    placement = result.run.placement if result.run else None
    if placement and placement.printed:
        summary += f", entries: {len(placement.dla)} on the DLA and {len(placement.gpu)} on the GPU"
    return summary


def files_of_build(engine: Path) -> tuple[Path, ...]:
    """The files that a build leaves."""
    return engine, manifest_path(engine), engine.with_name(f"{engine.name}.log")


def profile(board: BoardAtWork, files: BoardFiles, placement: Path | None, progress: Progress) -> str:
    """Measure the DLA engine and tell where its time goes."""
    options = board.options
    how = RemoteProfile(
        options.duration,
        power=PowerOptions(idle_s=options.idle) if board.power else None,
        clocks=options.lock_clocks,
        control=board.control,
    )
    pulled = profile_on_board(board.board, files.dla, files.folder, how)
    found = read_profile(pulled, read_placement(placement) if placement else None)
    rows = [replace(row, subject=board.name) for row in found.measurements]
    write_atomic(files.profile, measurements_json(rows))
    latency = next((row for row in rows if row.quantity == "latency"), None)
    summary = [f"{latency.value:.3g} {latency.unit}"] if latency else []
    if found.breakdown is not None:
        parts = found.breakdown
        summary.append(f"DLA {parts.dla_ms:.3g} ms, GPU {parts.gpu_ms:.3g} ms, {count(parts.switches, 'switch')}")
    return ", ".join(summary) or "measured"


def evaluate(
    board: BoardAtWork, files: BoardFiles, source: tuple[Path, Target], data: RunData, progress: Progress
) -> str:
    """Let the engine itself answer for test images. `source` is the model that it was built from, and its target."""
    model, target = source
    chosen = data.test(model, board.options.images)
    shape = _fed(model, target)
    how = RemoteEvaluation(shape.name, shape.shapes.usual[0], control=board.control)
    accuracy = evaluate_on_board(board.board, files.dla, chosen.images, chosen.known_labels, how)
    # Each batch starts trtexec anew, so the throughput says nothing.
    row = accuracy.top1_measurement(f"{target.precision} on {board.name}", data.name)
    write_atomic(files.accuracy, measurements_json([row]))
    return f"{target.precision} {percent(accuracy.top1)} of {count(accuracy.total, 'image')}"


def bench(board: BoardAtWork, files: BoardFiles, cores: tuple[int, ...], progress: Progress) -> str:
    """GPU alone, each DLA core alone, all together."""
    options = BenchOptions(
        gpu=files.gpu,
        dla=files.dla,
        cores=cores,
        duration=board.options.duration,
        repeats=board.options.repeats,
        idle=board.options.idle,
        power=board.power,
        clocks=board.options.lock_clocks,
        control=board.control,
    )
    rows = run_bench(board.board, options)
    write_atomic(files.bench, measurements_json([replace(row, subject=f"{board.name} {row.subject}") for row in rows]))
    rates = [row for row in rows if row.quantity == "throughput" and "(" not in row.subject]
    return ", ".join(f"{row.subject} {row.value:,.0f} {row.unit}" for row in rates)


def _fed(model: Path, target: Target) -> InputShape:
    """The model's first input with the shape that its engine takes."""
    if shapes := shapes_for(model, target.batch, target.shapes):
        return shapes[0]
    value = fed_inputs(load_model(model).proto.graph)[0]
    return InputShape(value.name, ShapeRange.fixed(tuple(size or 0 for size in dims_of(value) or ())))
