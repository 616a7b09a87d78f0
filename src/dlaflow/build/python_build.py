"""A build through TensorRT's Python API (`--via python`), and through TensorRT-RTX's (`--via rtx`).

One way for every release that has had a DLA since 8.4. Up to 10.x types are the builder's choice within flags, and INT8
scales come from a calibrator or a cache; 11.x and TensorRT-RTX take all types from the model. TensorRT-RTX builds ahead
of time for RTX GPUs, on any x86 computer, GPU or not; it has no DLA and refuses Hopper (compute capability 9.0) when
the engine runs. It shares parser, settings and progress with the builder for Jetson, so a real build exercises those.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import cast

from dlaflow.build.api import Messages, Phases, load_plugins, make_monitor, require_core
from dlaflow.build.calibrator import Batches, Feed, make_calibrator
from dlaflow.build.config import BuildConfig, InputShape, IOFormat
from dlaflow.build.device_memory import DeviceMemory
from dlaflow.build.refusals import LayerAnswer, RefusedNode, ask_layers, ask_parser
from dlaflow.build.surface import (
    BuilderObject,
    LayerObject,
    NetworkObject,
    ParserComplaint,
    ParserObject,
    ProfileObject,
    RtxSettings,
    Settings,
    TensorObject,
)
from dlaflow.errors import InputError, UsageError
from dlaflow.files import at_once, write_atomic
from dlaflow.progress import Progress, silent, stoppable
from dlaflow.targets.features import has
from dlaflow.targets.version import Version

RTX_AS = "11.0.0"
"""TensorRT-RTX has version numbers of its own; it behaves as this TensorRT does."""

_GPU = re.compile(r"^sm\d{2,3}$")
_HOPPER = "sm90"
_MIB = 1 << 20

_UPPER = ("chw2", "chw4", "chw16", "chw32", "hwc", "hwc8", "dhwc", "dhwc8", "cdhw32", "dla_linear", "dla_hwc4")
LAYOUTS: Mapping[str, str] = {"chw": "LINEAR", **{name: name.upper() for name in _UPPER}}
"""trtexec's names of layouts → TensorFormat."""

TYPES: Mapping[str, str] = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8", "int32": "INT32"}
"""trtexec's names of types → DataType."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """The bindings in use, their messages and logger, and how to show progress."""

    trt: ModuleType
    messages: Messages
    logger: object
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """Images for TensorRT's calibrator: batches of `batch_size`, and where device memory for them comes from."""

    batches: Batches
    batch_size: int
    memory: DeviceMemory


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """A serialised engine. `answers` are TensorRT's for each layer (empty without a DLA), `refused_nodes` the ONNX
    nodes that its parser refused for the DLA (None: this release cannot tell), `phases` what it worked through.
    """

    content: bytes
    seconds: float
    layers: int
    answers: tuple[LayerAnswer, ...] = ()
    refused_nodes: tuple[RefusedNode, ...] | None = None
    phases: tuple[str, ...] = ()


def build_with_python(
    bindings: Bindings, model: Path, config: BuildConfig, images: CalibrationImages | None = None
) -> EnginePlan:
    """Build `model` through `bindings` and return the engine with what TensorRT answered about its layers.

    `images` is needed for `scales="calibrator"`; a cache named in `config` is then written. Raises InputError,
    UsageError or EnvironmentLacksError with the cause in plain words.
    """
    trt = bindings.trt
    release = Version.parse(trt.__version__).release
    load_plugins(trt, bindings.logger, config.plugins)
    builder: BuilderObject = trt.Builder(bindings.logger)
    then = "Build on a board with a DLA (`dlaflow boards`), or for the GPU with --gpu-only."
    require_core(builder.num_DLA_cores, config.dla_core, trt.__version__, then)
    typed = has("typed_only", release) or config.strongly_typed
    network = builder.create_network(_network_flags(trt, typed=typed))
    parser: ParserObject = trt.OnnxParser(network, bindings.logger)
    settings = builder.create_builder_config()
    if config.on_dla:
        for flag in flags_for_dla(trt, quantized_in_model=config.scales == "qdq"):
            parser.set_flag(flag)
    parse_onnx(parser, model, bindings.messages)
    apply_common(trt, settings, config, release)
    apply_dla(trt, settings, config)
    apply_devices(trt, settings, network, config)
    apply_formats(trt, network, config, typed=typed)
    profile = add_profile(builder, settings, network, config.shapes)
    feed = None
    if not typed:
        apply_precisions(trt, network, config)
        feed = _set_implicit_precision(bindings, settings, config, images)
        if feed is not None and profile is not None:
            settings.set_calibration_profile(profile)
    load_timing_cache(settings, config.timing_cache)
    answers = ask_layers(settings, network) if config.on_dla else ()
    refused = ask_parser(trt, builder, settings, model, bindings.logger) if config.on_dla else None
    plan = build_serialized(bindings, builder, network, settings, feed)
    save_timing_cache(settings, config.timing_cache)
    return replace(plan, answers=answers, refused_nodes=refused)


def build_for_rtx(bindings: Bindings, model: Path, config: BuildConfig, gpus: Sequence[str]) -> EnginePlan:
    """Build `model` for the GPUs named (`sm86`, `sm89`, ...), which need not be here.

    Raises UsageError for a GPU that TensorRT-RTX does not serve, InputError when the model cannot be read or built.
    """
    trt = bindings.trt
    capabilities = [getattr(trt.ComputeCapability, name.upper()) for name in _checked(bindings, gpus)]
    load_plugins(trt, bindings.logger, config.plugins)
    builder: BuilderObject = trt.Builder(bindings.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser: ParserObject = trt.OnnxParser(network, bindings.logger)
    parse_onnx(parser, model, bindings.messages)
    settings = cast(RtxSettings, builder.create_builder_config())
    settings.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        settings.set_compute_capability(capability, index)
    apply_common(trt, settings, config, Version.parse(RTX_AS))
    add_profile(builder, settings, network, config.shapes)
    return build_serialized(bindings, builder, network, settings)


def build_serialized(
    bindings: Bindings,
    builder: BuilderObject,
    network: NetworkObject,
    settings: Settings,
    feed: Feed | None = None,
) -> EnginePlan:
    """Run the build itself.

    Raises what the messages explain; InputError when a cache was given and TensorRT did not take it.
    """
    phases = Phases(bindings.progress)
    calibrator = make_calibrator(bindings.trt, feed) if feed else None
    if calibrator is not None:
        settings.int8_calibrator = calibrator
    started = time.monotonic()
    with stoppable() as requested, closing(phases):
        monitor = make_monitor(bindings.trt, phases, requested)
        if monitor is not None:
            settings.progress_monitor = monitor
        # One bar at a time: TensorRT's own phases where it reports them, else one bar that the calibrator moves.
        with nullcontext() if monitor is not None else bindings.progress("TensorRT builds", None) as task:
            if feed:
                feed.task = task
            serialized = builder.build_serialized_network(network, settings)
    seconds = time.monotonic() - started
    if feed is not None and feed.asked_in_vain:
        raise InputError(
            f"TensorRT did not accept the calibration cache {feed.cache} and asked for images",
            expected="a cache that names every tensor of this model",
            received="another one",
            then="Make it again from this very model: `dlaflow calibrate MODEL --cache FILE`.",
        )
    if serialized is None:
        raise bindings.messages.failure()
    content = bytes(memoryview(serialized))
    if not content:
        raise InputError("TensorRT returned an empty engine", then="Look at its messages with --verbose.")
    return EnginePlan(content, seconds, network.num_layers, phases=tuple(phases.names))


def parse_onnx(parser: ParserObject, model: Path, messages: Messages) -> None:
    """Parse `model` into the network of `parser`.

    Raises InputError with node, operator and reason of the first complaint; EnvironmentLacksError or InputError from
    the log when the parser itself says nothing.
    """
    if not model.is_file():
        raise InputError(f"cannot read {model}", received="no such file", then="Check the path.")
    # The path lets the parser find weights that lie beside the model.
    if parser.parse_from_file(str(model)):
        return
    if parser.num_errors:
        raise _parse_error(model, parser.get_error(0))
    raise messages.failure()


def flags_for_dla(trt: ModuleType, *, quantized_in_model: bool) -> list[object]:
    """The parser flags that a DLA build wants, as far as this release has them (10.11 and 10.16)."""
    known = getattr(trt, "OnnxParserFlag", None)  # came with 8.6
    wanted = ["ADJUST_FOR_DLA"]
    if quantized_in_model:
        wanted.append("ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA")
    return [getattr(known, name) for name in wanted if hasattr(known, name)]


def _parse_error(model: Path, error: ParserComplaint) -> InputError:
    reason = " ".join(str(error.desc()).split())
    where = f"node {error.node()}" if error.node() >= 0 else "the file"
    # Names of node and operator came to the parser's errors with TensorRT 10.
    if hasattr(error, "node_operator") and error.node_operator():
        where += f" ({error.node_operator()} {error.node_name()!r})"
    return InputError(
        f"TensorRT cannot read {model}: {where}",
        expected="operators and attributes that this release imports",
        received=reason[:300],
        then="`dlaflow check` names unknown operators; a broken file is best exported again.",
    )


def _network_flags(trt: ModuleType, *, typed: bool) -> int:
    known = trt.NetworkDefinitionCreationFlag
    flags = 1 << int(known.EXPLICIT_BATCH) if has("explicit_batch_flag", trt.__version__) else 0
    return flags | (1 << int(known.STRONGLY_TYPED)) if typed else flags


def _set_implicit_precision(
    bindings: Bindings, settings: Settings, config: BuildConfig, images: CalibrationImages | None
) -> Feed | None:
    """The flags of releases up to 10.x; the feed when INT8 scales come from a cache or from images."""
    flags = bindings.trt.BuilderFlag
    if config.precision == "fp16" or config.fp16_too:
        settings.set_flag(flags.FP16)
    if config.precision_constraints == "obey":
        settings.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
    elif config.precision_constraints == "prefer":
        settings.set_flag(flags.PREFER_PRECISION_CONSTRAINTS)
    if config.precision != "int8":
        return None
    settings.set_flag(flags.INT8)
    cache = Path(config.cache) if config.cache else None
    if config.scales == "calibrator":
        if images is None:
            raise UsageError("calibrating needs images", expected="--data", received="none")
        return Feed(images.batches, images.batch_size, cache, bindings.trt.__version__, images.memory)
    if config.scales == "cache":
        if cache is None or not cache.is_file():
            raise InputError(f"cannot read the calibration cache {config.cache}", received="no such file")
        return Feed(None, 1, cache, bindings.trt.__version__)
    return None


def _checked(bindings: Bindings, gpus: Sequence[str]) -> Sequence[str]:
    known = sorted(name.lower() for name in dir(bindings.trt.ComputeCapability) if _GPU.match(name.lower()))
    if not gpus:
        raise UsageError("no GPU was named", expected=f"--gpu with some of {', '.join(known)}", received="none")
    for name in gpus:
        if name.lower() == _HOPPER:
            raise UsageError(
                "TensorRT-RTX does not run on Hopper (compute capability 9.0)",
                expected=f"some of {', '.join(known)}",
                received=name,
                then="Use full TensorRT there.",
            )
        if name.lower() not in known:
            raise UsageError("unknown GPU", expected=f"some of {', '.join(known)}", received=name)
    return gpus


def apply_common(trt: ModuleType, settings: Settings, config: BuildConfig, release: Version) -> None:
    """Set what every release has: pools, sparsity, verbosity, optimisation level, timing cache, compatibility.

    Raises EnvironmentLacksError or UsageError for what this release or machine has not.
    """
    for pool, size in (
        ("WORKSPACE", config.pools.workspace),
        ("DLA_MANAGED_SRAM", config.pools.dla_sram),
        ("DLA_LOCAL_DRAM", config.pools.dla_local_dram),
        ("DLA_GLOBAL_DRAM", config.pools.dla_global_dram),
    ):
        if size is not None:
            settings.set_memory_pool_limit(getattr(trt.MemoryPoolType, pool), int(size * _MIB))
    settings.profiling_verbosity = getattr(trt.ProfilingVerbosity, config.profiling_verbosity.upper())
    refuse_for_python(config, release)
    if config.sparsity == "enable":
        settings.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if config.optimization_level is not None:
        settings.builder_optimization_level = config.optimization_level
    if config.version_compatible:
        settings.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def refuse_for_python(config: BuildConfig, release: Version) -> None:
    """Raises UsageError for what the Python API of this release has no call for."""
    if config.sparsity == "force":
        raise UsageError(
            "`force` overwrites weights, which only trtexec does", expected="disable or enable", received="force"
        )
    wants_levels = config.optimization_level is not None or config.version_compatible
    if wants_levels and not has("optimization_levels", release):
        raise UsageError("optimisation levels and version compatibility came with TensorRT 8.6", received=release)


def apply_dla(trt: ModuleType, settings: Settings, config: BuildConfig) -> None:
    """Send layers to the DLA: default device, core, fallback, standalone capability. Nothing for a GPU engine."""
    if config.dla_core is None:
        return
    settings.default_device_type = trt.DeviceType.DLA
    settings.DLA_core = config.dla_core
    if config.gpu_fallback:
        settings.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if config.standalone:
        settings.engine_capability = trt.EngineCapability.DLA_STANDALONE
    if config.standalone or (config.input_formats and not config.gpu_fallback):
        # Without the GPU nothing can reformat, so the formats asked for must be taken as they are.
        settings.set_flag(trt.BuilderFlag.DIRECT_IO)


def apply_devices(trt: ModuleType, settings: Settings, network: NetworkObject, config: BuildConfig) -> None:
    """Send single layers elsewhere.

    Raises UsageError for a layer that the network does not have.
    """
    if not config.layer_devices:
        return
    layers = {layer.name: layer for layer in _layers_with(network, [each.layer for each in config.layer_devices])}
    for requested in config.layer_devices:
        settings.set_device_type(layers[requested.layer], getattr(trt.DeviceType, requested.value))


def _layers_with(network: NetworkObject, wanted: Sequence[str]) -> list[LayerObject]:
    """All layers of the network. Raises UsageError when one of the names wanted is not among them."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    names = {layer.name for layer in layers}
    for name in wanted:
        if name not in names:
            raise UsageError(f"the network has no layer {name!r}", then="`dlaflow check` lists its layers.")
    return layers


def apply_precisions(trt: ModuleType, network: NetworkObject, config: BuildConfig) -> None:
    """Ask single layers into a precision (up to 10.x); a request for `*` goes to every layer without one of its own.

    Raises UsageError for a layer that the network does not have or an unknown precision.
    """
    if not config.layer_precisions:
        return
    requests = {
        requested.layer: getattr(trt.DataType, _lookup(TYPES, requested.value, "type"))
        for requested in config.layer_precisions
    }
    for layer in _layers_with(network, sorted(set(requests) - {"*"})):
        requested = requests.get(layer.name, requests.get("*"))
        if requested is not None:
            layer.precision = requested


def add_profile(
    builder: BuilderObject,
    settings: Settings,
    network: NetworkObject,
    shapes: tuple[InputShape, ...],
) -> ProfileObject | None:
    """Add one optimisation profile and return it; None when no shape was given.

    Raises UsageError for an input that the network does not have or that the shape does not fit.
    """
    inputs = {network.get_input(index).name: network.get_input(index) for index in range(network.num_inputs)}
    _refuse_open_inputs(inputs, shapes)
    if not shapes:
        return None
    profile = builder.create_optimization_profile()
    for one in shapes:
        _check_shape(one, inputs)
        profile.set_shape(one.name, one.shapes.smallest, one.shapes.usual, one.shapes.largest)
    settings.add_optimization_profile(profile)
    return profile


def apply_formats(trt: ModuleType, network: NetworkObject, config: BuildConfig, *, typed: bool) -> None:
    """Fix type and layouts of inputs and outputs; in a typed network (11.x) the type stands in the model.

    Raises InputError when that is another type than the one asked for.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for tensors, formats in ((inputs, config.input_formats), (outputs, config.output_formats)):
        wanted = formats * len(tensors) if len(formats) == 1 else formats
        if wanted and len(wanted) != len(tensors):
            raise UsageError(
                "the I/O formats do not match the tensors", expected=f"one or {len(tensors)}", received=len(wanted)
            )
        for tensor, one in zip(tensors, wanted, strict=False):
            _fix_format(trt, tensor, one, typed=typed)


def _fix_format(trt: ModuleType, tensor: TensorObject, wanted: IOFormat, *, typed: bool) -> None:
    dtype = getattr(trt.DataType, _lookup(TYPES, wanted.type, "type"))
    if not typed:
        tensor.dtype = dtype
    elif tensor.dtype != dtype:
        raise InputError(
            f"{tensor.name} has another type in the model, and this release takes types from there alone",
            expected=wanted.type,
            received=str(tensor.dtype),
            then="Export the model with that type, or leave the format out.",
        )
    tensor.allowed_formats = sum(
        1 << int(getattr(trt.TensorFormat, _lookup(LAYOUTS, name, "layout"))) for name in wanted.layouts
    )


def load_timing_cache(settings: Settings, path: str | None) -> None:
    """Start from the timings of earlier builds; a file that is not there yet starts empty."""
    if path is None:
        return
    file = Path(path)
    settings.set_timing_cache(settings.create_timing_cache(file.read_bytes() if file.is_file() else b""), False)


def save_timing_cache(settings: Settings, path: str | None) -> None:
    """Keep the timings for the next build."""
    if path is not None:
        with at_once():
            write_atomic(path, bytes(memoryview(settings.get_timing_cache().serialize())))


def _lookup(names: Mapping[str, str], name: str, kind: str) -> str:
    if name not in names:
        raise UsageError(f"unknown {kind}", expected=f"one of {', '.join(names)}", received=name)
    return names[name]


def _refuse_open_inputs(inputs: Mapping[str, TensorObject], shapes: tuple[InputShape, ...]) -> None:
    given = {one.name for one in shapes}
    for name, tensor in inputs.items():
        if name not in given and any(size < 0 for size in tensor.shape):
            raise UsageError(
                f"input {name} leaves dimensions open: {tuple(tensor.shape)}",
                expected="its shape",
                received="none",
                then="Give --batch N, or --shape NAME:AxBxC for other open dimensions.",
            )


def _check_shape(one: InputShape, inputs: Mapping[str, TensorObject]) -> None:
    if one.name not in inputs:
        raise UsageError("the model has no such input", expected=f"one of {', '.join(inputs)}", received=one.name)
    have = tuple(inputs[one.name].shape)
    for shape in (one.shapes.smallest, one.shapes.usual, one.shapes.largest):
        if len(shape) != len(have) or any(
            size not in (-1, requested) for size, requested in zip(have, shape, strict=True)
        ):
            raise UsageError(f"the shape of {one.name} does not fit the model", expected=have, received=shape)
