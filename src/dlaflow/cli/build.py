"""`dlaflow build`: an ONNX model → an engine and its manifest, or the command that makes it on the board."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from dlaflow.build.capability import Caution, Via, examine
from dlaflow.build.config import BuildConfig
from dlaflow.build.engine import BuildResult, How, Request, about_cache, build_engine
from dlaflow.build.manifest import BuiltFor, manifest_path
from dlaflow.build.measuring import BUILD_ONLY, Measuring, measuring_for
from dlaflow.build.model_types import examine_model
from dlaflow.build.reading import examine_reading
from dlaflow.build.trtexec import TrtexecOptions
from dlaflow.build.trtexec_arguments import build_command
from dlaflow.build.walkthrough import walkthrough
from dlaflow.cli import terminal
from dlaflow.cli.build_options import Numbers, Placing, Resources, configure
from dlaflow.cli.target_options import TargetOptions
from dlaflow.errors import UsageError
from dlaflow.files import write_atomic
from dlaflow.progress import Progress
from dlaflow.targets.target import Target

if TYPE_CHECKING:
    from dlaflow.build.python_build import CalibrationImages, EnginePlan
    from dlaflow.parse.log import LogRun

_SWITCH = Parameter(negative="")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Way:
    """How to build."""

    via: Via = "trtexec"
    """trtexec, python (TensorRT's Python API) or rtx (TensorRT-RTX, for RTX GPUs, on any computer)."""
    print_command: Annotated[bool, _SWITCH] = False
    """Print trtexec's command line to paste on a board, and build nothing."""
    all_steps: Annotated[bool, _SWITCH] = False
    """With --print-command: also the standalone build, the time line, the build with real scales, the evaluation."""
    gpu: str = ""
    """With --via rtx: the GPUs to build for, such as sm86,sm89."""
    build_only: Annotated[bool, _SWITCH] = False
    """Do not measure after the build."""
    trtexec: Path | None = None
    """The trtexec to run, when it is neither on PATH nor where JetPack puts it."""
    timeout: float | None = None
    """Seconds after which trtexec is stopped."""
    data: str | None = None
    """With --via python: images to calibrate with (cifar10, digits, a folder, a .npy or .npz file)."""
    data_dir: Path | None = None
    """The folder that holds CIFAR-10."""
    samples: int = 512
    """How many images to calibrate with."""
    verbose: Annotated[bool, _SWITCH] = False
    """Let trtexec log everything."""
    json: Path | None = None
    """Also write the manifest, which stands beside the engine, to this file."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    target: TargetOptions
    placing: Placing
    numbers: Numbers
    resources: Resources
    way: Way


def build(
    model: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    target: TargetOptions | None = None,
    placing: Placing | None = None,
    numbers: Numbers | None = None,
    resources: Resources | None = None,
    way: Way | None = None,
) -> None:
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
    options = _Options(
        target=target or TargetOptions(),
        placing=placing or Placing(),
        numbers=numbers or Numbers(),
        resources=resources or Resources(),
        way=way or Way(),
    )
    wanted = options.target.target()
    if options.placing.standalone:
        wanted = replace(wanted, mode="standalone")
    if options.way.via == "rtx":
        _build_rtx(model, out, wanted, options)
        return
    config = configure(
        model,
        wanted,
        options.placing,
        options.numbers,
        options.resources,
        # A printed trtexec command cannot calibrate; --data then only names the images of the later steps.
        calibrate=options.way.data is not None and not options.way.print_command,
    )
    if options.way.print_command:
        _print_commands(model, out, config, wanted.release.tensorrt, options.way)
        return
    if options.way.all_steps:
        raise UsageError("--all-steps belongs to --print-command")
    # Before images are loaded or anything runs; the build itself asks again for the release that is really here.
    examine(config, wanted.release.tensorrt, options.way.via)
    built_for = BuiltFor("tensorrt", wanted.release.tensorrt, wanted.board.id, wanted.release.name)
    progress = terminal.progress(quiet=options.way.quiet)
    how = _how(model, out, wanted.release.tensorrt, options.way, config, progress)
    result = build_engine(Request(model, out, config, built_for), how, progress)
    _print_result(result, options.way, _scored(result.plan, model, wanted))


def _build_rtx(model: Path, out: Path, target: Target, options: _Options) -> None:
    if options.way.print_command:
        raise UsageError("there is no trtexec command for --via rtx", then="Leave --print-command out.")
    placing = replace(options.placing, gpu_only=True)
    config = configure(
        model,
        replace(target, precision="fp16", mode="hybrid"),
        placing,
        options.numbers,
        options.resources,
        calibrate=False,
    )
    # Whatever --precision says: TensorRT-RTX takes all types from the model.
    config = replace(config, precision="model")
    gpus = tuple(filter(None, (name.strip() for name in options.way.gpu.split(","))))
    request = Request(model, out, config, BuiltFor("tensorrt_rtx", ""))
    progress = terminal.progress(quiet=options.way.quiet)
    _print_result(build_engine(request, How("rtx", gpus=gpus), progress), options.way)


def _how(model: Path, out: Path, tensorrt: str, way: Way, config: BuildConfig, progress: Progress) -> How:
    measuring = _measuring(out, tensorrt, way, config)
    options = TrtexecOptions(str(way.trtexec) if way.trtexec else None, way.timeout, measuring)
    images = _images(model, way, config, progress) if config.scales == "calibrator" and way.via == "python" else None
    return How(way.via, options, images)


def _measuring(out: Path, tensorrt: str, way: Way, config: BuildConfig) -> Measuring:
    if way.build_only or config.standalone:
        return replace(BUILD_ONLY, verbose=way.verbose)
    profile = out.with_suffix(".json") if out.suffix else out.with_name(f"{out.name}.profile.json")
    return replace(measuring_for(tensorrt, str(profile)), verbose=way.verbose)


def _images(model: Path, way: Way, config: BuildConfig, progress: Progress) -> CalibrationImages:
    from dlaflow.build.device_memory import open_memory
    from dlaflow.build.python_build import CalibrationImages
    from dlaflow.cli.batches import Source, select
    from dlaflow.fixed_shape import FixedShape
    from dlaflow.graph.load import as_model
    from dlaflow.quantize.images import in_batches
    from dlaflow.quantize.model import input_shape

    shapes = [FixedShape(each.name, each.shapes.usual) for each in config.shapes]
    # TensorRT calibrates with the batch of the calibration profile, which is the engine's.
    fixed = as_model(model, shapes).proto
    dims = fixed.graph.input[0].type.tensor_type.shape.dim
    batch = config.shapes[0].shapes.usual[0] if config.shapes else int(dims[0].dim_value)
    memory = open_memory()
    source = Source(data=way.data or "", data_dir=way.data_dir, samples=max(way.samples, batch), batch=batch)
    chosen = select(source, input_shape(fixed), train=True, default=None, progress=progress)
    return CalibrationImages(lambda: in_batches(chosen.images, batch), batch, memory)


def _print_commands(model: Path, out: Path, config: BuildConfig, tensorrt: str, way: Way) -> None:
    cautions = [*examine(config, tensorrt, "trtexec"), *examine_model(model, config, tensorrt)]
    cautions += [*about_cache(config, tensorrt), *examine_reading(model, tensorrt)]
    if way.all_steps:
        lines = list(walkthrough(str(model), str(out), config, tensorrt, way.data or "cifar10"))
    else:
        lines = [build_command(str(model), str(out), config, tensorrt, _measuring(out, tensorrt, way, config))]
    sys.stdout.write("\n".join(lines) + "\n")
    if not way.quiet:
        _print_cautions(cautions)


def _print_result(result: BuildResult, way: Way, scored: str = "") -> None:
    if way.json is not None:
        write_atomic(way.json, msgspec.json.format(msgspec.json.encode(result.manifest), indent=2) + b"\n")
    if way.quiet:
        return
    _print_cautions(result.cautions)
    manifest = result.manifest
    console = terminal.console()
    product = "TensorRT-RTX" if manifest.built_for.product == "tensorrt_rtx" else "TensorRT"
    console.print(
        f"Built {result.engine}: {manifest.bytes / 1e6:.1f} MB in {manifest.seconds:.1f} s, {manifest.mode}, "
        f"{product} {manifest.built_for.tensorrt}"
        + (f" for {', '.join(manifest.built_for.gpus)}" if manifest.built_for.gpus else "")
    )
    for line in _about_run(result.run) if result.run else ():
        console.print(line)
    for node in (result.plan.refused_nodes or ()) if result.plan else ():
        console.print(f"Not for the DLA: node {node.index} {node.operator} {node.reason}".rstrip(), markup=False)
    if scored:
        console.print(scored)
    console.print(f"About it: {manifest_path(result.engine)}")


def _about_run(run: LogRun) -> Iterator[str]:
    if run.placement.printed:
        yield f"Placement: {len(run.placement.dla)} entries on the DLA, {len(run.placement.gpu)} on the GPU"
    performance = run.performance
    if performance and performance.throughput_qps is not None:
        median = performance.latency.median if performance.latency else None
        yield f"Measured: {performance.throughput_qps:,.1f} batches/s" + (f", median {median} ms" if median else "")


def _scored(plan: EnginePlan | None, model: Path, target: Target) -> str:
    """How well `dlaflow check` foretold TensorRT's own answers; empty without a DLA."""
    if plan is None or not plan.answers:
        return ""
    from dlaflow.build.refusals import score
    from dlaflow.placement.check import check

    agreement = score(plan.answers, check(model, target))
    said = agreement.agreed + len(agreement.disagreements)
    differing = "; ".join(one.layer for one in agreement.disagreements[:3])
    return f"`dlaflow check` foretold {agreement.agreed} of {said} layers" + (f", not {differing}" if differing else "")


def _print_cautions(cautions: tuple[Caution, ...] | list[Caution]) -> None:
    console = terminal.console(stderr=True)
    for caution in cautions:
        console.print(f"caution: {caution.message} {caution.then}", markup=False)
