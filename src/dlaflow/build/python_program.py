"""BuildConfig → a program for TensorRT's Python API that builds the engine where dlaflow is not installed.

The same calls as `python_build` makes, written out for one release: `build --via python --print-command`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dlaflow.build.config import BuildConfig, IOFormat
from dlaflow.build.python_build import LAYOUTS, TYPES, refuse_for_python
from dlaflow.quantize.cache import header_for
from dlaflow.targets.features import has
from dlaflow.targets.version import Version

_MIB = 1 << 20
_POOLS = {
    "workspace": "WORKSPACE",
    "dla_sram": "DLA_MANAGED_SRAM",
    "dla_local_dram": "DLA_LOCAL_DRAM",
    "dla_global_dram": "DLA_GLOBAL_DRAM",
}
_CALIBRATOR = """
class Cache(trt.IInt8EntropyCalibrator2):
    \"\"\"Gives TensorRT the scales of the file, whatever release its first line names.\"\"\"

    def __init__(self):
        trt.IInt8EntropyCalibrator2.__init__(self)

    def get_batch_size(self):
        return 1

    def get_batch(self, names):
        print("TensorRT did not accept the calibration cache and asked for images", file=sys.stderr)

    def read_calibration_cache(self):
        return {header!r} + pathlib.Path({cache}).read_bytes().partition(b"\\n")[2]

    def write_calibration_cache(self, cache):
        pass


"""


def python_program(model: Path, engine: Path, config: BuildConfig, tensorrt: str) -> str:
    """The text of the program. It needs the `tensorrt` module alone, and ends with a message when the build fails.

    Raises UsageError for what the Python API of this release has no call for.
    """
    release = Version.parse(tensorrt).release
    refuse_for_python(config, release)
    typed = config.strongly_typed or has("typed_only", release)
    lines = [f"# Builds {_text(engine)} from {_text(model)} ({config.mode}) with TensorRT {tensorrt}."]
    lines += ["import ctypes"] if config.plugins else []
    lines += ["import pathlib", "import sys", "", "import tensorrt as trt", ""]
    scaled = config.precision == "int8" and config.scales == "cache" and not typed
    if scaled:
        header = f"{header_for(tensorrt)}\n".encode()
        lines += _CALIBRATOR.format(header=header, cache=_text(config.cache or "")).splitlines()
    lines += [*_parse(model, config, release, typed=typed), *_common(config)]
    lines += [*_placement(config), *_formats(config, typed=typed), *_profile(config)]
    if not typed:
        lines += _precisions(config)
    if scaled:
        lines += ["calibrator = Cache()", "config.int8_calibrator = calibrator"]
        lines += ["config.set_calibration_profile(profile)"] if config.shapes else []
    return "\n".join([*lines, *_build(engine, config)]) + "\n"


def _text(name: str | Path) -> str:
    """A name as Python writes it, in ASCII: one from a model may hold anything."""
    return ascii(str(name))


def _parse(model: Path, config: BuildConfig, release: Version, *, typed: bool) -> Iterator[str]:
    yield "logger = trt.Logger()"
    for plugin in config.plugins:
        yield f"ctypes.CDLL({_text(plugin)}, mode=ctypes.RTLD_GLOBAL)"
    yield 'trt.init_libnvinfer_plugins(logger, "")'
    yield "builder = trt.Builder(logger)"
    if config.on_dla:
        yield f"if builder.num_DLA_cores <= {config.dla_core}:"
        yield f'    sys.exit("this machine has no DLA core {config.dla_core}")'
    flags = ["EXPLICIT_BATCH"] if has("explicit_batch_flag", release) else []
    flags += ["STRONGLY_TYPED"] if typed else []
    bits = " | ".join(f"1 << int(trt.NetworkDefinitionCreationFlag.{flag})" for flag in flags)
    yield f"network = builder.create_network({bits or 0})"
    yield "parser = trt.OnnxParser(network, logger)"
    if config.on_dla and has("adjusts_for_dla", release):
        yield "parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)"
    if config.on_dla and config.scales == "qdq" and has("qdq_on_dla", release):
        yield "parser.set_flag(trt.OnnxParserFlag.ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA)"
    yield f"if not parser.parse_from_file({_text(model)}):"
    yield "    errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]"
    yield '    sys.exit("TensorRT cannot read the model: " + "; ".join(errors))'


def _common(config: BuildConfig) -> Iterator[str]:
    yield "config = builder.create_builder_config()"
    for field, pool in _POOLS.items():
        size = getattr(config.pools, field)
        if size is not None:
            yield f"config.set_memory_pool_limit(trt.MemoryPoolType.{pool}, {int(size * _MIB)})"
    yield f"config.profiling_verbosity = trt.ProfilingVerbosity.{config.profiling_verbosity.upper()}"
    if config.sparsity == "enable":
        yield "config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)"
    if config.optimization_level is not None:
        yield f"config.builder_optimization_level = {config.optimization_level}"
    if config.version_compatible:
        yield "config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)"
    if config.timing_cache:
        yield f"timings = pathlib.Path({_text(config.timing_cache)})"
        yield 'known = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")'
        yield "config.set_timing_cache(known, False)"


def _placement(config: BuildConfig) -> Iterator[str]:
    if config.layer_devices or config.layer_precisions:
        yield "found = [network.get_layer(index) for index in range(network.num_layers)]"
        yield "layers = {layer.name: layer for layer in found}"
    if config.on_dla:
        yield "config.default_device_type = trt.DeviceType.DLA"
        yield f"config.DLA_core = {config.dla_core}"
        if config.gpu_fallback:
            yield "config.set_flag(trt.BuilderFlag.GPU_FALLBACK)"
        if config.standalone:
            yield "config.engine_capability = trt.EngineCapability.DLA_STANDALONE"
        if config.standalone or (config.input_formats and not config.gpu_fallback):
            yield "config.set_flag(trt.BuilderFlag.DIRECT_IO)"
    for one in config.layer_devices:
        yield f"config.set_device_type(layers[{_text(one.layer)}], trt.DeviceType.{one.value})"


def _formats(config: BuildConfig, *, typed: bool) -> Iterator[str]:
    for side, formats in (("input", config.input_formats), ("output", config.output_formats)):
        if len(formats) == 1:
            yield f"for index in range(network.num_{side}s):"
            yield f"    tensor = network.get_{side}(index)"
            yield from (f"    {line}" for line in _format(formats[0], typed=typed))
            continue
        for index, one in enumerate(formats):
            yield f"tensor = network.get_{side}({index})"
            yield from _format(one, typed=typed)


def _format(one: IOFormat, *, typed: bool) -> Iterator[str]:
    if not typed:
        yield f"tensor.dtype = trt.DataType.{TYPES[one.type]}"
    bits = " | ".join(f"1 << int(trt.TensorFormat.{LAYOUTS[name]})" for name in one.layouts)
    yield f"tensor.allowed_formats = {bits}"


def _profile(config: BuildConfig) -> Iterator[str]:
    if not config.shapes:
        return
    yield "profile = builder.create_optimization_profile()"
    for one in config.shapes:
        sizes = ", ".join(map(str, (one.shapes.smallest, one.shapes.usual, one.shapes.largest)))
        yield f"profile.set_shape({_text(one.name)}, {sizes})"
    yield "config.add_optimization_profile(profile)"


def _precisions(config: BuildConfig) -> Iterator[str]:
    asked = {one.layer: f"trt.DataType.{TYPES[one.value]}" for one in config.layer_precisions}
    if everywhere := asked.pop("*", None):
        yield "for layer in layers.values():"
        yield f"    layer.precision = {everywhere}"
    for layer, kind in asked.items():
        yield f"layers[{_text(layer)}].precision = {kind}"
    flags = ["FP16"] if config.precision == "fp16" or config.fp16_too else []
    flags += ["INT8"] if config.precision == "int8" else []
    if config.precision_constraints != "default":
        flags.append(f"{config.precision_constraints.upper()}_PRECISION_CONSTRAINTS")
    yield from (f"config.set_flag(trt.BuilderFlag.{flag})" for flag in flags)


def _build(engine: Path, config: BuildConfig) -> Iterator[str]:
    yield "plan = builder.build_serialized_network(network, config)"
    yield "if plan is None:"
    yield '    sys.exit("TensorRT built no engine; its messages above say why")'
    if config.timing_cache:
        yield "timings.write_bytes(memoryview(config.get_timing_cache().serialize()))"
    yield f"pathlib.Path({_text(engine)}).write_bytes(memoryview(plan))"
