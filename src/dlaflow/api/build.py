"""build: an ONNX model and a target → an engine and its manifest, or the command that makes it on the board."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlaflow.api.claims import KeptFile, OutFile
from dlaflow.api.keywords import File, keywords
from dlaflow.build.capability import Via, examine
from dlaflow.build.config import BuildConfig, IOFormat, LayerOptions, MemoryPools, Precision, Scales, standalone_format
from dlaflow.build.engine import BuildResult, How, Request, build_engine
from dlaflow.build.manifest import BuiltFor
from dlaflow.build.model import shapes_for
from dlaflow.build.python_program import python_program
from dlaflow.build.trtexec import TrtexecOptions
from dlaflow.build.trtexec_arguments import BUILD_ONLY, Measuring, measuring_for
from dlaflow.build.trtexec_arguments import build_command as command_line
from dlaflow.errors import UsageError, unknown_name
from dlaflow.progress import Progress, silent
from dlaflow.targets.options import TargetOptions
from dlaflow.targets.target import Target

if TYPE_CHECKING:
    from dlaflow.build.python_build import CalibrationImages
    from dlaflow.report.notebook import ShownBuild


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What the engine is like, wherever it is built."""

    dla_core: int = 0
    """The DLA core, 0 or 1."""
    gpu_only: bool = False
    """Build for the GPU, without the DLA."""
    no_gpu_fallback: bool = False
    """Fail rather than run a layer on the GPU."""
    standalone: bool = False
    """A DLA loadable for cuDLA: the same as --mode standalone."""
    input_format: Sequence[str] = ()
    """Type and layout of the inputs, such as int8:dla_hwc4. Standalone default: dla_linear, before TensorRT 8.6.1
    chw32 (INT8) or chw16 (FP16)."""
    output_format: Sequence[str] = ()
    """Type and layout of the outputs, such as int8:chw32."""
    layer_device: Sequence[str] = ()
    """LAYER:GPU or LAYER:DLA for single layers."""
    cache: KeptFile | None = None
    """The calibration cache (INT8 up to TensorRT 10); with --data it is written."""
    scales: Literal["auto", "qdq", "none"] = "auto"
    """auto (from --cache or --data), qdq (the model holds Q/DQ nodes), none (speed only)."""
    strongly_typed: bool = False
    """Take all types from the model (TensorRT 9.1 to 10; 11 always does)."""
    fp16_too: bool = False
    """Let layers without INT8 scales run in FP16."""
    layer_precision: Sequence[str] = ()
    """LAYER:fp16 and the like for single layers; with it TensorRT prefers these precisions."""
    obey: bool = False
    """Fail rather than leave a precision of --layer-precision."""
    workspace: float | None = None
    """MiB of GPU workspace."""
    dla_sram: float | None = None
    """MiB of the DLA's SRAM for each loadable."""
    dla_local_dram: float | None = None
    """MiB of DRAM for a loadable's own tensors."""
    dla_global_dram: float | None = None
    """MiB of DRAM for a loadable's weights."""
    timing_cache: KeptFile | None = None
    """Timings kept from build to build."""
    optimization_level: int | None = None
    """0 (fast build) to 5 (fast engine); from TensorRT 8.6."""
    sparsity: Literal["disable", "enable", "force"] = "disable"
    """Use 2:4 sparse weights."""
    detailed: bool = False
    """Keep layer details in the engine, for layer information in profiles."""
    version_compatible: bool = False
    """An engine that newer releases load too; from TensorRT 8.6, GPU only."""
    plugin: Sequence[File] = ()
    """Plugin libraries."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions(EngineOptions):
    """What the engine is like, and how to build it here."""

    via: Via = "trtexec"
    """trtexec, python (TensorRT's Python API) or rtx (TensorRT-RTX, for RTX GPUs, on any computer)."""
    gpu: str = ""
    """With --via rtx: the GPUs to build for, such as sm86,sm89."""
    build_only: bool = False
    """Do not measure after the build."""
    trtexec: File | None = None
    """The trtexec to run, when it is neither on PATH nor where JetPack puts it."""
    timeout: float | None = None
    """Seconds after which trtexec is stopped."""
    data: File | None = None
    """With --via python: images to calibrate with (cifar10, digits, a folder, a .npy or .npz file)."""
    data_dir: File | None = None
    """The folder that holds CIFAR-10."""
    samples: int = 512
    """How many images to calibrate with."""
    verbose: bool = False
    """Let trtexec log everything."""

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise UsageError("--timeout makes no sense", expected="seconds above 0", received=self.timeout)
        if self.samples < 1:
            raise UsageError("--samples makes no sense", expected="1 or more images", received=self.samples)
        if self.gpu and self.via != "rtx":
            raise UsageError("--gpu is for --via rtx", received=f"--via {self.via}", then="Leave one of them out.")


def build_model(
    model: Path, out: Path, target: TargetOptions, options: BuildOptions, progress: Progress = silent
) -> BuildResult:
    """Build the engine `out` of `model`, with its manifest and log beside it.

    Raises UsageError for what the release cannot do (before images are read or anything runs), InputError or
    EnvironmentLacksError with the cause when the build fails.
    """
    request, how = prepared(model, out, target, options)
    if how.via != "rtx":
        examine(request.config, request.built_for.tensorrt, how.via)
    if request.config.scales == "calibrator" and how.via == "python":
        how = replace(how, images=_images(model, request.config, options, progress))
    return build_engine(request, how, progress)


def prepared(
    model: Path, out: Path, target: TargetOptions, options: BuildOptions, *, calibrate: bool = True
) -> tuple[Request, How]:
    """What to build and how, as `build_engine` takes it, still without the images to calibrate with.

    Without `calibrate` the images in `data` are none for this build: a printed trtexec command cannot calibrate.
    Raises as `configure` does.
    """
    if options.via not in ("trtexec", "python", "rtx"):
        raise unknown_name("way to build", options.via, ("trtexec", "python", "rtx"))
    wanted = target_of(target, options)
    if options.via == "rtx":
        # Whatever --precision says: TensorRT-RTX takes all types from the model.
        wanted, options = replace(wanted, precision="fp16", mode="hybrid"), replace(options, gpu_only=True)
        config = replace(configure(model, wanted, options), precision="model")
        gpus = tuple(filter(None, (name.strip() for name in options.gpu.split(","))))
        return Request(model, out, config, BuiltFor("tensorrt_rtx", "")), How("rtx", gpus=gpus)
    config = configure(model, wanted, options, calibrate=calibrate and options.data is not None)
    tensorrt, trtexec = wanted.release.tensorrt, str(options.trtexec) if options.trtexec else None
    only = options.build_only or config.standalone
    measuring = measuring_of(out, tensorrt, build_only=only, verbose=options.verbose)
    built_for = BuiltFor("tensorrt", tensorrt, wanted.board.id, wanted.release.name)
    how = How(options.via, TrtexecOptions(trtexec, options.timeout, measuring))
    return Request(model, out, config, built_for), how


def prepared_to_print(model: Path, out: Path, target: TargetOptions, options: BuildOptions) -> tuple[Request, How]:
    """`prepared` for a command that somebody else runs, without images. Raises UsageError where there is none."""
    if options.via == "rtx":
        raise UsageError("there is no command to print for --via rtx", then="Leave --print-command out.")
    if options.via == "python" and options.data is not None:
        raise UsageError(
            "a printed program has no images to calibrate with",
            expected="--cache FILE",
            received="--data",
            then="Make the cache with `dlaflow calibrate MODEL --data ... --cache calib.cache`.",
        )
    return prepared(model, out, target, options, calibrate=False)


def printed_command(request: Request, how: How) -> str:
    """trtexec's line, or the program for TensorRT's Python API, that builds the engine of `request`."""
    model, engine, tensorrt = request.model, request.engine, request.built_for.tensorrt
    if how.via == "python":
        return python_program(model, engine, request.config, tensorrt)
    return command_line(str(model), str(engine), request.config, tensorrt, how.trtexec.measuring)


def target_of(target: TargetOptions, options: EngineOptions) -> Target:
    """The target that both name: `standalone` is a mode of it. Raises UsageError for unknown names."""
    found = target.target()
    return replace(found, mode="standalone") if options.standalone else found


def measuring_of(engine: Path, tensorrt: str, *, build_only: bool, verbose: bool) -> Measuring:
    """What trtexec measures after the build; the layer times land beside the engine."""
    if build_only:
        return replace(BUILD_ONLY, verbose=verbose)
    profile = engine.with_suffix(".json") if engine.suffix else engine.with_name(f"{engine.name}.profile.json")
    return replace(measuring_for(tensorrt, str(profile)), verbose=verbose)


def _images(model: Path, config: BuildConfig, options: BuildOptions, progress: Progress) -> CalibrationImages:
    from dlaflow.api.images import ImageOptions, select
    from dlaflow.build.device_memory import open_memory
    from dlaflow.build.python_build import CalibrationImages
    from dlaflow.fixed_shape import FixedShape
    from dlaflow.graph.load import as_model
    from dlaflow.quantize.images import float_batches
    from dlaflow.quantize.model import network_inputs

    shapes = [FixedShape(each.name, each.shapes.usual) for each in config.shapes]
    # TensorRT calibrates with the batch of the calibration profile, which is the engine's.
    fixed = as_model(model, shapes).proto
    dims = fixed.graph.input[0].type.tensor_type.shape.dim
    batch = config.shapes[0].shapes.usual[0] if config.shapes else int(dims[0].dim_value)
    memory = open_memory()
    reading = ImageOptions(data_dir=options.data_dir, samples=max(options.samples, batch), batch=batch)
    chosen = select(options.data or "", reading, network_inputs(fixed)[:1], train=True, progress=progress)
    return CalibrationImages(partial(float_batches, chosen.images, batch), batch, memory)


def configure(model: Path, target: Target, options: EngineOptions, *, calibrate: bool = False) -> BuildConfig:
    """The configuration that the options mean; `calibrate` tells that images were given.

    Raises UsageError for options that contradict each other, InputError when the model cannot be read.
    """
    standalone = options.standalone or target.mode == "standalone"
    if options.gpu_only and standalone:
        raise UsageError("--gpu-only and --standalone contradict each other", then="Leave one out.")
    if not options.gpu_only and not 0 <= options.dla_core < target.board.dla_cores:
        cores = target.board.dla_cores
        raise UsageError(
            f"{target.board.id} has no DLA core {options.dla_core}",
            expected=f"a core below {cores}" if cores else "a board with a DLA, or --gpu-only",
            received=f"--dla-core {options.dla_core}",
        )
    precision: Precision = "int8" if target.precision == "int8" else "fp16"
    plain = (standalone_format(precision, target.release.tensorrt),) if standalone else ()
    return BuildConfig(
        precision=precision,
        scales=_scales(target, options, calibrate=calibrate),
        fp16_too=options.fp16_too,
        strongly_typed=options.strongly_typed,
        shapes=shapes_for(model, target.batch, target.shapes),
        dla_core=None if options.gpu_only else options.dla_core,
        gpu_fallback=not (options.gpu_only or standalone or options.no_gpu_fallback),
        standalone=standalone,
        input_formats=tuple(map(IOFormat.parse, options.input_format)) or plain,
        output_formats=tuple(map(IOFormat.parse, options.output_format)) or plain,
        pools=MemoryPools(options.workspace, options.dla_sram, options.dla_local_dram, options.dla_global_dram),
        cache=str(options.cache) if options.cache else None,
        precision_constraints="obey" if options.obey else "prefer" if options.layer_precision else "default",
        layer_precisions=_layer_options(options.layer_precision, ("fp32", "fp16", "int8")),
        layer_devices=_layer_options(options.layer_device, ("DLA", "GPU")),
        sparsity=options.sparsity,
        timing_cache=str(options.timing_cache) if options.timing_cache else None,
        optimization_level=options.optimization_level,
        profiling_verbosity="detailed" if options.detailed else "layer_names_only",
        version_compatible=options.version_compatible,
        plugins=tuple(map(str, options.plugin)),
    )


def _scales(target: Target, options: EngineOptions, *, calibrate: bool) -> Scales:
    if options.scales == "qdq" and (options.cache or calibrate):
        raise UsageError("--scales qdq takes the scales from the model", received="also --cache or --data")
    if target.precision != "int8":
        return "none"
    if options.scales != "auto":
        return options.scales
    if calibrate:
        return "calibrator"
    return "cache" if options.cache else "none"


def _layer_options(texts: Sequence[str], values: tuple[str, ...]) -> tuple[LayerOptions, ...]:
    requests = []
    for text in texts:
        layer, _, value = text.rpartition(":")
        if not layer or value not in values:
            raise UsageError(
                "cannot read a request for a layer", expected=f"LAYER:{'|'.join(values)}", received=repr(text)
            )
        requests.append(LayerOptions(layer, value))
    return tuple(requests)


@dataclass(frozen=True, kw_only=True)
class BuildArguments(BuildOptions, TargetOptions):
    """The arguments of `build` and `build_command`."""

    model: File = field(kw_only=False)
    """The ONNX model."""
    out: OutFile = field(kw_only=False)
    """The engine to write."""
    progress: Progress = silent
    """What shows how far the work is."""


@keywords(BuildArguments)
def build(given: BuildArguments) -> ShownBuild:
    """Build a TensorRT engine, on a board (trtexec, python) or for RTX GPUs on any computer (rtx).

    Returns a `dlaflow.build.engine.BuildResult`. Raises UsageError for what the release cannot do, InputError or
    EnvironmentLacksError with the cause when the build fails.
    """
    from dlaflow.report.notebook import ShownBuild, show

    return show(ShownBuild, build_model(Path(given.model), Path(given.out), given, given, given.progress))


@keywords(BuildArguments)
def build_command(given: BuildArguments) -> str:
    """The trtexec line, or with via="python" the program, that builds the engine: `dlaflow build --print-command`.

    Raises UsageError for what the release cannot do.
    """
    return printed_command(*prepared_to_print(Path(given.model), Path(given.out), given, given))
