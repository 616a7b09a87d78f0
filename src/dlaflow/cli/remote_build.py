"""`dlaflow remote BOARD build` and `probe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from dlaflow.api.build import configure, measuring_of, target_of
from dlaflow.build.engine import BuildResult, Request
from dlaflow.build.manifest import BuiltFor
from dlaflow.cli import terminal
from dlaflow.cli.build import Engine, print_cautions, print_result
from dlaflow.cli.options import Out, Target
from dlaflow.cli.remote_options import Connecting, control, each_board, options_on, own_path
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
            control(connecting),
            builder_on(one, facts),
        )
        built_for = BuiltFor("tensorrt", release.tensorrt, on_board.board.id, release.name)
        return build_on_board(one, Request(model, path, config, built_for), how)

    for name, result in each_board(board, connecting, work).items():
        if not connecting.quiet:
            print_cautions(result.cautions)
            print_result(result, name)


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
        probing = ProbeOptions(everything=every_layer, again=again, control=control(connecting))
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
