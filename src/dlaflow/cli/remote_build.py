"""`dlaflow remote BOARD build` and `probe`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.build.engine import BuildResult, Request
from dlaflow.build.manifest import BuiltFor, manifest_path
from dlaflow.build.measuring import BUILD_ONLY, Measuring, measuring_for
from dlaflow.cli import terminal
from dlaflow.cli.build_options import Numbers, Placing, Resources, configure
from dlaflow.cli.remote_options import SWITCH, Connecting, control, each_board, own_path, target_on
from dlaflow.cli.target_options import TargetOptions
from dlaflow.errors import UsageError
from dlaflow.placement.answers import keep
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.build import HOUR, RemoteBuild, build_on_board, builder_on
from dlaflow.remote.doctor import ask
from dlaflow.remote.inventory import BoardEntry, boards_of
from dlaflow.remote.probe import Probed, ProbeOptions
from dlaflow.remote.probe import probe as run_probe


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OnDevice:
    """How to build on the board."""

    build_only: Annotated[bool, SWITCH] = False
    """Do not measure after the build."""
    timeout: float = 6 * HOUR
    """Seconds after which trtexec is stopped."""
    lock_clocks: Annotated[bool, SWITCH] = False
    """Fix the clocks at their highest for the build's measurement (needs sudo there); they are put back afterwards."""
    verbose: Annotated[bool, SWITCH] = False
    """Let trtexec log everything."""


def build(
    board: str,
    model: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    target: TargetOptions | None = None,
    placing: Placing | None = None,
    numbers: Numbers | None = None,
    resources: Resources | None = None,
    on_device: OnDevice | None = None,
    connecting: Connecting | None = None,
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
    target, on_device = target or TargetOptions(), on_device or OnDevice()
    placing, numbers = placing or Placing(), numbers or Numbers()
    resources = resources or Resources()
    if resources.timing_cache is not None:
        raise UsageError(
            "the board keeps no timing cache for another host", received="--timing-cache", then="Leave it out."
        )
    count = len(boards_of(board))

    def work(one: RemoteBoard, entry: BoardEntry) -> BuildResult:
        machine, facts = ask(one)
        wanted = target_on(machine, target, entry.title)
        if placing.standalone:
            wanted = replace(wanted, mode="standalone")
        config = configure(model, wanted, placing, numbers, resources, calibrate=False)
        release, engine = wanted.release, own_path(out, entry.title, count)
        how = RemoteBuild(
            _measuring(engine, release.tensorrt, on_device, alone=config.standalone),
            on_device.timeout,
            on_device.lock_clocks,
            control(connecting),
            builder_on(one, facts),
        )
        built_for = BuiltFor("tensorrt", release.tensorrt, wanted.board.id, release.name)
        return build_on_board(one, Request(model, engine, config, built_for), how)

    for name, result in each_board(board, connecting, work).items():
        if not (connecting and connecting.quiet):
            _print(name, result)


def _measuring(engine: Path, tensorrt: str, on_device: OnDevice, *, alone: bool) -> Measuring:
    if on_device.build_only or alone:
        return replace(BUILD_ONLY, verbose=on_device.verbose)
    profile = engine.with_suffix(".json") if engine.suffix else engine.with_name(f"{engine.name}.profile.json")
    return replace(measuring_for(tensorrt, str(profile)), verbose=on_device.verbose)


def _print(name: str, result: BuildResult) -> None:
    console, manifest = terminal.console(), result.manifest
    for caution in result.cautions:
        terminal.console(stderr=True).print(f"caution: {caution.message} {caution.then}", markup=False)
    console.print(
        f"Built {result.engine} on {name}: {manifest.bytes / 1e6:.1f} MB in {manifest.seconds:.1f} s, {manifest.mode}, "
        f"TensorRT {manifest.built_for.tensorrt}",
        markup=False,
    )
    run = result.run
    if run and run.placement.printed:
        dla, gpu = len(run.placement.dla), len(run.placement.gpu)
        console.print(f"Placement: {dla} entries on the DLA, {gpu} on the GPU")
    if run and run.performance and run.performance.throughput_qps is not None:
        median = run.performance.latency.median if run.performance.latency else None
        latency = f", median {median} ms" if median else ""
        console.print(f"Measured: {run.performance.throughput_qps:,.1f} batches/s{latency}")
    console.print(f"About it: {manifest_path(result.engine)}", markup=False)


def probe(
    board: str,
    model: Path,
    /,
    *,
    target: TargetOptions | None = None,
    every_layer: Annotated[bool, SWITCH] = False,
    again: Annotated[bool, SWITCH] = False,
    connecting: Connecting | None = None,
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
    options = target or TargetOptions()

    def work(one: RemoteBoard, entry: BoardEntry) -> Probed:
        machine, _ = ask(one)
        probing = ProbeOptions(everything=every_layer, again=again, control=control(connecting))
        return run_probe(one, model, target_on(machine, options, entry.title), probing)

    console = terminal.console()
    for name, probed in each_board(board, connecting, work).items():
        place = keep(probed.answers) if probed.answers else None
        if connecting and connecting.quiet:
            continue
        asked = probed.answers.answers if probed.answers else ()
        for answer in (*asked, *probed.known):
            reason = f"  {answer.reason}" if answer.reason else ""
            console.print(f"{answer.device:<7} {answer.kind:<16} {answer.layer}{reason}", markup=False)
        for layer, why in probed.skipped:
            console.print(f"not asked {layer}: {why}", markup=False)
        summary = f"{len(asked)} layers asked on {name}, {len(probed.known)} known before"
        console.print(f"{summary}; kept in {place}" if place else summary, markup=False)
