"""BuildConfig → TensorRT's IBuilderConfig: the part that all releases of the Python API share.

Each call below exists in every surface that the tests hold a strict double of (8.6.1, 10.3.0, 10.16.1, 11.4.0) or is
guarded by the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from dlaflow.build.config import BuildConfig, InputShape, IOFormat
from dlaflow.build.surface import BuilderObject, NetworkObject, ProfileObject, Settings, TensorObject
from dlaflow.errors import InputError, UsageError
from dlaflow.files import write_atomic
from dlaflow.targets.features import has
from dlaflow.targets.version import Version

_MIB = 1 << 20

_UPPER = ("chw2", "chw4", "chw16", "chw32", "hwc", "hwc8", "dhwc", "dhwc8", "cdhw32", "dla_linear", "dla_hwc4")
_LAYOUTS: Mapping[str, str] = {"chw": "LINEAR", **{name: name.upper() for name in _UPPER}}
"""trtexec's names of layouts → TensorFormat."""

_TYPES: Mapping[str, str] = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8", "int32": "INT32"}


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
    if config.sparsity == "force":
        raise UsageError(
            "`force` overwrites weights, which only trtexec does", expected="disable or enable", received="force"
        )
    if config.sparsity == "enable":
        settings.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    wants_levels = config.optimization_level is not None or config.version_compatible
    if wants_levels and not has("optimization_levels", release):
        raise UsageError("optimisation levels and version compatibility came with TensorRT 8.6", received=release)
    if config.optimization_level is not None:
        settings.builder_optimization_level = config.optimization_level
    if config.version_compatible:
        settings.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


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
    layers = {network.get_layer(index).name: network.get_layer(index) for index in range(network.num_layers)}
    for requested in config.layer_devices:
        if requested.layer not in layers:
            raise UsageError(f"the network has no layer {requested.layer!r}", then="`dlaflow check` lists its layers.")
        settings.set_device_type(layers[requested.layer], getattr(trt.DeviceType, requested.value))


def apply_precisions(trt: ModuleType, network: NetworkObject, config: BuildConfig) -> None:
    """Ask single layers into a precision (up to 10.x); a request for `*` goes to every layer without one of its own.

    Raises UsageError for a layer that the network does not have or an unknown precision.
    """
    if not config.layer_precisions:
        return
    requests = {
        requested.layer: getattr(trt.DataType, _lookup(_TYPES, requested.value, "type"))
        for requested in config.layer_precisions
    }
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    strangers = sorted(set(requests) - {layer.name for layer in layers} - {"*"})
    if strangers:
        raise UsageError(f"the network has no layer {strangers[0]!r}", then="`dlaflow check` lists its layers.")
    for layer in layers:
        requested = requests.get(layer.name, requests.get("*"))
        if requested is not None:
            layer.precision = requested


def add_profile(
    builder: BuilderObject, settings: Settings, network: NetworkObject, shapes: tuple[InputShape, ...]
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
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    _apply_formats(trt, tensors, config.input_formats, typed=typed)
    tensors = [network.get_output(index) for index in range(network.num_outputs)]
    _apply_formats(trt, tensors, config.output_formats, typed=typed)


def load_timing_cache(settings: Settings, path: str | None) -> None:
    """Start from the timings of earlier builds; a file that is not there yet starts empty."""
    if path is None:
        return
    file = Path(path)
    settings.set_timing_cache(settings.create_timing_cache(file.read_bytes() if file.is_file() else b""), False)


def save_timing_cache(settings: Settings, path: str | None) -> None:
    """Keep the timings for the next build."""
    if path is not None:
        write_atomic(path, bytes(memoryview(settings.get_timing_cache().serialize())))


def _apply_formats(trt: ModuleType, tensors: list[TensorObject], formats: tuple[IOFormat, ...], *, typed: bool) -> None:
    if not formats:
        return
    wanted = formats * len(tensors) if len(formats) == 1 else formats
    if len(wanted) != len(tensors):
        raise UsageError(
            "the I/O formats do not match the tensors", expected=f"one or {len(tensors)}", received=len(wanted)
        )
    for tensor, one in zip(tensors, wanted, strict=True):
        dtype = getattr(trt.DataType, _lookup(_TYPES, one.type, "type"))
        if not typed:
            tensor.dtype = dtype
        elif tensor.dtype != dtype:
            raise InputError(
                f"{tensor.name} has another type in the model, and this release takes types from there alone",
                expected=one.type,
                received=str(tensor.dtype),
                then="Export the model with that type, or leave the format out.",
            )
        tensor.allowed_formats = sum(
            1 << int(getattr(trt.TensorFormat, _lookup(_LAYOUTS, name, "layout"))) for name in one.layouts
        )


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
