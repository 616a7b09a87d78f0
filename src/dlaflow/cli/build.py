"""`dlaflow build`: an ONNX model → an engine and its manifest, or the command that makes it on the board."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.api.build import (
    BuildOptions,
    EngineOptions,
    build_model,
    prepared_to_print,
    printed_command,
    target_of,
)
from dlaflow.api.claims import Written
from dlaflow.build.capability import Caution
from dlaflow.build.engine import BuildResult, How, Request
from dlaflow.build.manifest import manifest_path
from dlaflow.build.precheck import precheck
from dlaflow.build.walkthrough import walkthrough
from dlaflow.cli import terminal
from dlaflow.cli.options import InputText, Out, Target, group
from dlaflow.errors import UsageError
from dlaflow.files import json_bytes, together, write_atomic

if TYPE_CHECKING:
    from dlaflow.build.python_build import EnginePlan
    from dlaflow.parse.log import LogRun
    from dlaflow.targets.target import Target as Wanted


@group
@dataclass(frozen=True, kw_only=True)
class Engine(EngineOptions):
    """What the engine is like, as a command line says it."""


@group
@dataclass(frozen=True, kw_only=True)
class Building(Engine, BuildOptions):
    """How to build."""

    data: InputText | None = None
    print_command: bool = False
    """Print trtexec's command line to paste on a board, with --via python a program, and build nothing."""
    all_steps: bool = False
    """With --print-command: also the standalone build, the time line, the build with real scales, the evaluation."""
    json: Written | None = None
    """Also write the manifest, which stands beside the engine, to this file."""
    quiet: terminal.Quiet = False


def build(model: Path, /, *, out: Out, target: Target = Target(), how: Building = Building()) -> None:
    """Build an engine, or print the command that builds it on a board.

    Beside the engine stand OUT.json, which tells what it was built from and for, and with trtexec OUT.log.

    Examples:

        dlaflow build model.onnx --out model.engine --tensorrt 8.5.2 --batch 32 --print-command

        dlaflow build model.onnx --out model.engine --jetpack 6.2 --precision int8 --cache calib.cache

        dlaflow build yolo.onnx --out yolo.engine --jetpack 6.2 --shape images:1x3x640x640 --print-command

        dlaflow build model.onnx --out model.engine --via python --data cifar10 --cache calib.cache

        dlaflow build model.onnx --out model.engine --via rtx --gpu sm86,sm89

    Parameters
    ----------
    model
        The ONNX model.
    out
        The engine to write.
    """
    if how.print_command:
        _print_commands(*prepared_to_print(model, out, target, how), how)
        return
    if how.all_steps:
        raise UsageError("--all-steps belongs to --print-command")
    with together():
        result = build_model(model, out, target, how, terminal.progress(quiet=how.quiet))
        if how.json is not None:
            write_atomic(how.json, json_bytes(result.manifest, indent=2))
    if not how.quiet:
        print_cautions(result.cautions)
        print_result(result, scored=_scored(result.plan, model, target_of(target, how)))


def _print_commands(request: Request, how: How, options: Building) -> None:
    cautions = precheck(request.model, request.config, request.built_for, how.via, printed=True)
    if options.all_steps and how.via != "trtexec":
        raise UsageError("--all-steps are trtexec's", received=f"--via {how.via}", then="Leave one of them out.")
    if options.data is not None and not options.all_steps:
        then = "Add --all-steps, or make a cache with `dlaflow calibrate` and name it with --cache."
        raise UsageError("a printed trtexec command cannot calibrate", received="--data", then=then)
    if options.all_steps:
        terminal.say(*walkthrough(request, str(options.data or "cifar10")))
    else:
        printed = printed_command(request, how)  # a name in a command may hold a newline; a program shows it escaped
        terminal.say(*(printed.split("\n") if how.via == "python" else [printed]))
    if not options.quiet:
        print_cautions(cautions)


def print_cautions(cautions: Iterable[Caution]) -> None:
    """Tell on stderr what should be known of a build."""
    terminal.say(*(f"caution: {caution.message} {caution.then}" for caution in cautions), stderr=True)


def print_result(result: BuildResult, board: str = "", scored: str = "") -> None:
    """The engine, what its log tells and, in `scored`, how well it was predicted; `board` is where it was built."""
    manifest, plan = result.manifest, result.plan
    product = "TensorRT-RTX" if manifest.built_for.product == "tensorrt_rtx" else "TensorRT"
    gpus = f" for {', '.join(manifest.built_for.gpus)}" if manifest.built_for.gpus else ""
    place = f" on {board}" if board else ""
    lines = [
        f"Built {result.engine}{place}: {manifest.bytes / 1e6:.1f} MB in {manifest.seconds:.1f} s, {manifest.mode}, "
        f"{product} {manifest.built_for.tensorrt}{gpus}",
        *(_about_run(result.run) if result.run else ()),
    ]
    refused = (plan.refused_nodes or ()) if plan else ()
    lines += [f"Not for the DLA: node {node.index} {node.operator} {node.reason}".rstrip() for node in refused]
    terminal.say(*lines, *([scored] if scored else []), f"About it: {manifest_path(result.engine)}")


def _about_run(run: LogRun) -> Iterator[str]:
    if run.placement.printed:
        yield f"Placement: {len(run.placement.dla)} entries on the DLA, {len(run.placement.gpu)} on the GPU"
    performance = run.performance
    if performance and performance.throughput_qps is not None:
        median = performance.latency.median if performance.latency else None
        yield f"Measured: {performance.throughput_qps:,.1f} batches/s" + (f", median {median} ms" if median else "")


def _scored(plan: EnginePlan | None, model: Path, target: Wanted) -> str:
    """How well `dlaflow check` foretold TensorRT's own answers; empty without a DLA."""
    if plan is None or not plan.answers:
        return ""
    from dlaflow.build.refusals import score
    from dlaflow.placement.check import check

    agreement = score(plan.answers, check(model, target))
    answered = agreement.agreed + len(agreement.disagreements)
    differing = "; ".join(one.layer for one in agreement.disagreements[:3])
    return f"`dlaflow check` foretold {agreement.agreed} of {answered} layers" + (
        f", not {differing}" if differing else ""
    )
