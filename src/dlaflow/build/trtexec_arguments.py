"""BuildConfig → trtexec's arguments, as a pure function of the release.

The order of the arguments is the walk-through's. Meaning is kept over releases: what 11.0 made the default is switched
off there when it was not asked for, what a release spells differently is respelled, and what it cannot do is a
UsageError that says what to do instead (`dlaflow.build.capability` words most of them beforehand).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import PurePath

from dlaflow.build.config import BuildConfig, InputShape, IOFormat
from dlaflow.errors import UsageError
from dlaflow.targets.features import has, trtexec_options
from dlaflow.targets.version import Version


@dataclass(frozen=True, slots=True)
class Measuring:
    """How trtexec measures and reports once the engine is there. The defaults are trtexec's own.

    Times are in the units that trtexec takes: `warm_up` and `idle` in milliseconds, `duration` in seconds.

    None leaves trtexec's default. `data_transfers` False leaves the copies to and from the device out;
    `export_*` are files that trtexec writes.
    """

    skip: bool = False
    iterations: int | None = None
    duration: int | None = None
    warm_up: int | None = None
    idle: int | None = None
    average_runs: int | None = None
    spin_wait: bool = False
    cuda_graph: bool = False
    data_transfers: bool = True
    separate_profile_run: bool = False
    dump_profile: bool = False
    dump_layer_info: bool = False
    export_times: str | None = None
    export_profile: str | None = None
    export_layer_info: str | None = None
    export_output: str | None = None
    verbose: bool = False


BUILD_ONLY = Measuring(skip=True)
"""Build, save, leave."""

WALKTHROUGH = Measuring(spin_wait=True, separate_profile_run=True)
"""As the walk-through measures; add `export_profile`."""


def measuring_for(tensorrt: str, profile: str) -> Measuring:
    """The walk-through's measurement with the layer profile in the file `profile`, as far as the release can do both.

    Before 7.2.1 a profile would disturb the measurement, so there is none.
    """
    if not trtexec_options()["separateProfileRun"].known_to(Version.parse(tensorrt)):
        return replace(WALKTHROUGH, separate_profile_run=False)
    return replace(WALKTHROUGH, export_profile=profile)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Collects arguments and refuses those that the release does not know."""

    release: Version
    written: list[str]

    def knows(self, name: str) -> bool:
        return trtexec_options()[name].known_to(self.release)

    def add(self, name: str, value: object = None) -> None:
        if not self.knows(name):
            option = trtexec_options()[name]
            too_old = self.release.before(option.since)
            raise UsageError(
                f"trtexec of TensorRT {self.release} has no --{name}",
                expected=f"TensorRT {option.since} or later" if too_old else f"TensorRT {option.until} or earlier",
                received=self.release,
                then="Leave that request out or choose another release.",
            )
        self.written.append(f"--{name}" if value is None else f"--{name}={value}")

    def add_if(self, wanted: bool, name: str) -> None:
        if wanted:
            self.add(name)

    def add_value(self, name: str, value: object) -> None:
        if value is not None and value != "":
            self.add(name, value)


def build_arguments(
    model: str, engine: str | None, config: BuildConfig, tensorrt: str, measuring: Measuring | None = None
) -> list[str]:
    """The arguments that make trtexec build `model` (ONNX; `.prototxt` on TensorRT 7 and 8) and save `engine`.

    Raises UsageError for a request that trtexec of this release has no option for.
    """
    measuring = measuring or Measuring()
    to = _Writer(Version.parse(tensorrt).release, [])
    to.add("deploy" if PurePath(model).suffix == ".prototxt" else "onnx", model)
    to.add_value("batch", config.implicit_batch)
    for name in config.outputs:
        to.add("output", name)
    if config.implicit_batch is None and PurePath(model).suffix != ".prototxt":
        _add_sizes(to, config.shapes)
    to.add_value("saveEngine" if to.knows("saveEngine") else "engine", engine)
    to.add_value("exportProfile", measuring.export_profile)
    _add_precision(to, config)
    _add_placement(to, config)
    _add_resources(to, config)
    # --buildDLAStandalone never runs what it built; behind --safe trtexec would try and call the build FAILED.
    if measuring.skip and not (config.standalone and to.knows("buildDLAStandalone")):
        _add_skip(to)
    _add_measuring(to, measuring)
    return to.written


def build_command(
    model: str, engine: str, config: BuildConfig, tensorrt: str, measuring: Measuring | None = None
) -> str:
    """The trtexec line that builds `engine`; its output goes to a log beside it, warnings included.

    Raises UsageError as `build_arguments` does.
    """
    path = PurePath(engine)
    log = path.with_suffix(".log") if path.suffix in {".engine", ".plan"} else f"{path}.log"
    line = shlex.join(["trtexec", *build_arguments(model, engine, config, tensorrt, measuring)])
    # Warnings and errors go to stderr: a log of stdout alone lacks every reason for a fallback.
    return f"{line} > {shlex.quote(str(log))} 2>&1"


def load_arguments(
    engine: str, tensorrt: str, measuring: Measuring, shapes: tuple[InputShape, ...] = (), dla_core: int | None = None
) -> list[str]:
    """The arguments that make trtexec load a finished engine and run it.

    An engine keeps no core number, so `dla_core` is given again; None leaves the choice to trtexec (core 0).
    Raises UsageError as `build_arguments` does.
    """
    to = _Writer(Version.parse(tensorrt).release, [])
    to.add("loadEngine" if to.knows("loadEngine") else "engine", engine)
    _add_shapes(to, shapes)
    to.add_value("useDLACore", dla_core)
    to.add_value("exportProfile", measuring.export_profile)
    _add_measuring(to, measuring)
    return to.written


def _add_sizes(to: _Writer, shapes: tuple[InputShape, ...]) -> None:
    """The shapes of an ONNX model, and that its first dimension is the batch where trtexec must be told so."""
    if to.knows("shapes"):
        _add_shapes(to, shapes)
        to.add_if(not shapes and not has("onnx_means_explicit_batch", to.release), "explicitBatch")
    elif shapes:
        # TensorRT 5 drops the first dimension of every input and takes no other size than the model's.
        to.add("batch", shapes[0].shapes.usual[0])


def _add_skip(to: _Writer) -> None:
    """Leave after the build; TensorRT 5 always measures, so one run must do."""
    known = next((name for name in ("skipInference", "buildOnly") if to.knows(name)), None)
    if known:
        to.add(known)
    else:
        to.add("iterations", 1)
        to.add("avgRuns", 1)


def _add_shapes(to: _Writer, shapes: tuple[InputShape, ...]) -> None:
    if not shapes:
        return
    if not all(one.shapes.is_fixed for one in shapes):
        to.add("minShapes", _spell_shapes(shapes, "smallest"))
        to.add("optShapes", _spell_shapes(shapes, "usual"))
        to.add("maxShapes", _spell_shapes(shapes, "largest"))
    to.add("shapes", _spell_shapes(shapes, "usual"))


def _add_precision(to: _Writer, config: BuildConfig) -> None:
    if config.strongly_typed and not has("typed_only", to.release):
        to.add("stronglyTyped")
    elif not has("typed_only", to.release):
        to.add_if(config.precision == "fp16", "fp16")
        to.add_if(config.precision == "int8", "int8")
        to.add_if(config.precision == "int8" and config.fp16_too, "fp16")
    to.add_value("calib", config.cache)
    if config.precision_constraints != "default":
        to.add("precisionConstraints", config.precision_constraints)
    to.add_value(
        "layerPrecisions", ",".join(f"{requested.layer}:{requested.value}" for requested in config.layer_precisions)
    )


def _add_placement(to: _Writer, config: BuildConfig) -> None:
    to.add_value("useDLACore", config.dla_core)
    to.add_if(config.gpu_fallback, "allowGPUFallback")
    if config.standalone:
        to.add("buildDLAStandalone" if to.knows("buildDLAStandalone") else "safe")
    if config.on_dla and to.knows("adjustForDLA"):
        to.add("adjustForDLA")
    if config.on_dla and config.scales == "qdq" and to.knows("uint8AsymmetricQuantizationDLA"):
        to.add("uint8AsymmetricQuantizationDLA")
    to.add_value(
        "layerDeviceTypes", ",".join(f"{requested.layer}:{requested.value}" for requested in config.layer_devices)
    )
    to.add_value("inputIOFormats", _spell_formats(to, config.input_formats))
    to.add_value("outputIOFormats", _spell_formats(to, config.output_formats))


def _add_resources(to: _Writer, config: BuildConfig) -> None:
    pools = config.pools
    dla_pools = (
        ("dlaSRAM", pools.dla_sram),
        ("dlaLocalDRAM", pools.dla_local_dram),
        ("dlaGlobalDRAM", pools.dla_global_dram),
    )
    if to.knows("memPoolSize") or any(size is not None for _, size in dla_pools):
        # A bare number is MiB in every release; from 10.1 only the last letter of a suffix counts: "1024MiB" is bytes.
        sizes = [(name, size) for name, size in (("workspace", pools.workspace), *dla_pools) if size is not None]
        to.add_value("memPoolSize", ",".join(f"{name}:{size:g}" for name, size in sizes))
    elif pools.workspace is not None:
        to.add("workspace", f"{pools.workspace:g}")
    if config.sparsity != "disable":
        to.add("sparsity", config.sparsity)
    to.add_value("timingCacheFile", config.timing_cache)
    to.add_value("builderOptimizationLevel", config.optimization_level)
    if config.profiling_verbosity != "layer_names_only":
        to.add("profilingVerbosity", config.profiling_verbosity)
    to.add_if(config.version_compatible, "versionCompatible")
    for plugin in config.plugins:
        to.add("staticPlugins" if to.knows("staticPlugins") else "plugins", plugin)


def _add_measuring(to: _Writer, measuring: Measuring) -> None:
    to.add_value("iterations", measuring.iterations)
    to.add_value("idleTime", measuring.idle)
    to.add_value("duration", measuring.duration)
    to.add_value("warmUp", measuring.warm_up)
    to.add_value("avgRuns", measuring.average_runs)
    if not to.knows("noSpinWait"):  # 11.0 made the opposite of each the default
        to.add_if(not measuring.data_transfers, "noDataTransfers")
        to.add_if(measuring.spin_wait, "useSpinWait")
        to.add_if(measuring.cuda_graph, "useCudaGraph")
        to.add_if(measuring.separate_profile_run, "separateProfileRun")
    elif not measuring.skip:
        to.add_if(measuring.data_transfers, "includeDataTransfers")
        to.add_if(not measuring.spin_wait, "noSpinWait")
        to.add_if(not measuring.cuda_graph, "noCudaGraph")
    to.add_if(measuring.dump_profile, "dumpProfile")
    to.add_if(measuring.dump_layer_info, "dumpLayerInfo")
    to.add_if(measuring.verbose, "verbose")
    to.add_value("exportTimes", measuring.export_times)
    to.add_value("exportLayerInfo", measuring.export_layer_info)
    to.add_value("exportOutput", measuring.export_output)


def _spell_formats(to: _Writer, formats: tuple[IOFormat, ...]) -> str:
    # From 11.0 on the type is the model's: trtexec takes the layout alone.
    typed_only = has("typed_only", to.release)
    return ",".join("+".join(one.layouts) if typed_only else str(one) for one in formats)


def _spell_shapes(shapes: tuple[InputShape, ...], which: str) -> str:
    return ",".join(f"{one.name}:{'x'.join(map(str, getattr(one.shapes, which)))}" for one in shapes)
