"""A build through TensorRT's Python API, for boards without trtexec: trtexec's arguments, a log in trtexec's form.

Understands what `dlaflow` writes for a build and refuses the rest; it measures nothing. Runs as a process of its own in
the job's folder, so that a driver that crashes takes nothing with it.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from typing import Any, Dict, List, Tuple  # noqa: UP035

from . import generated

PROGRAM = "TensorRT.bindings"
_LETTERS = {"INTERNAL_ERROR": "F", "ERROR": "E", "WARNING": "W", "INFO": "I", "VERBOSE": "V"}
_POOLS = {
    "workspace": "WORKSPACE",
    "dlaSRAM": "DLA_MANAGED_SRAM",
    "dlaLocalDRAM": "DLA_LOCAL_DRAM",
    "dlaGlobalDRAM": "DLA_GLOBAL_DRAM",
}
_LAYOUTS = {"chw": "LINEAR"}
_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8", "int32": "INT32"}
_PARSER_FLAGS = {
    "adjustForDLA": "ADJUST_FOR_DLA",
    "uint8AsymmetricQuantizationDLA": "ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA",
}
_KNOWN_TEXT = """
    onnx saveEngine fp16 int8 stronglyTyped calib useDLACore allowGPUFallback buildDLAStandalone safe shapes minShapes
    optShapes maxShapes memPoolSize inputIOFormats outputIOFormats profilingVerbosity builderOptimizationLevel
    versionCompatible skipInference buildOnly verbose adjustForDLA uint8AsymmetricQuantizationDLA
"""
_KNOWN = frozenset(_KNOWN_TEXT.split())


class Wrong(Exception):
    """A build that cannot be done so; the text goes into the log."""


def main(arguments: list[str]) -> int:
    """Build, and print how it went as trtexec does."""
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        _log("E", f"TensorRT's Python bindings cannot be imported: {error}")
        return 1
    line = f"{PROGRAM} [TensorRT v{_number(trt.__version__)}] # {PROGRAM} {' '.join(arguments)}"
    _say(f"&&&& RUNNING {line}")
    try:
        build(trt, arguments)
    except Exception as error:
        # The log is all that the host sees of this process.
        _log("E", str(error) if isinstance(error, (Wrong, OSError)) else traceback.format_exc())
        _say(f"&&&& FAILED {line}")
        return 1
    _say(f"&&&& PASSED {line}")
    return 0


def build(trt: Any, arguments: list[str]) -> None:
    """Build the engine of the arguments with the module `trt`. Raises Wrong."""
    options = _read(arguments)
    logger = _logger(trt, "VERBOSE" if "verbose" in options else "INFO")
    trt.init_libnvinfer_plugins(logger, "")
    builder = trt.Builder(logger)
    release = tuple(int(part) for part in trt.__version__.split(".")[:2])
    typed = release >= generated.TYPED_ONLY_SINCE or "stronglyTyped" in options
    network = builder.create_network(_flags(trt, release, typed))
    parser = trt.OnnxParser(network, logger)
    for option, flag in _PARSER_FLAGS.items():
        if option in options:
            parser.set_flag(getattr(trt.OnnxParserFlag, flag))
    if not parser.parse_from_file(options["onnx"]):
        texts = [str(parser.get_error(number).desc()) for number in range(parser.num_errors)]
        raise Wrong("the parser refused the model: " + "; ".join(texts))
    config = builder.create_builder_config()
    _place(trt, builder, config, options)
    _size(trt, config, options)
    _shape(builder, config, network, options)
    _format(trt, network, options, typed)
    calibrator = None if typed else _precision(trt, config, options)
    started = time.time()
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise Wrong("Engine could not be created from network")
    del calibrator
    with open(options["saveEngine"], "wb") as file:
        file.write(bytes(memoryview(content)))
    _log("I", f"Engine built in {time.time() - started:.4f} sec.")


def _read(arguments: list[str]) -> Dict[str, str]:  # noqa: UP006
    options = {}
    for argument in arguments:
        name, _, value = argument[2:].partition("=")
        if name not in _KNOWN:
            raise Wrong(f"--{name} cannot be done through TensorRT's Python API here")
        options[name] = value
    if "onnx" not in options or "saveEngine" not in options:
        raise Wrong("neither a model nor an engine is named")
    return options


def _flags(trt: Any, release: Tuple[int, ...], typed: bool) -> int:  # noqa: UP006
    kinds = trt.NetworkDefinitionCreationFlag
    flags = 1 << int(kinds.EXPLICIT_BATCH) if release[:1] <= generated.EXPLICIT_BATCH_UNTIL else 0
    return flags | (1 << int(kinds.STRONGLY_TYPED)) if typed else flags


def _place(trt: Any, builder: Any, config: Any, options: Dict[str, str]) -> None:  # noqa: UP006
    if "useDLACore" not in options:
        return
    core = int(options["useDLACore"])
    if core >= builder.num_DLA_cores:
        raise Wrong(f"Cannot create DLA engine, {core} not available")
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    if "allowGPUFallback" in options:
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if "buildDLAStandalone" in options or "safe" in options:
        config.engine_capability = trt.EngineCapability.DLA_STANDALONE
        config.set_flag(trt.BuilderFlag.DIRECT_IO)


def _size(trt: Any, config: Any, options: Dict[str, str]) -> None:  # noqa: UP006
    for part in filter(None, options.get("memPoolSize", "").split(",")):
        pool, _, mebibytes = part.partition(":")
        config.set_memory_pool_limit(getattr(trt.MemoryPoolType, _POOLS[pool]), int(float(mebibytes) * (1 << 20)))
    if options.get("profilingVerbosity") == "detailed":
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if "builderOptimizationLevel" in options:
        config.builder_optimization_level = int(options["builderOptimizationLevel"])
    if "versionCompatible" in options:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)


def _shape(builder: Any, config: Any, network: Any, options: Dict[str, str]) -> None:  # noqa: UP006
    usual = _shapes(options.get("optShapes") or options.get("shapes", ""))
    least, most = _shapes(options.get("minShapes", "")) or usual, _shapes(options.get("maxShapes", "")) or usual
    if not usual:
        return
    profile = builder.create_optimization_profile()
    for name, dims in usual.items():
        profile.set_shape(name, least[name], dims, most[name])
    config.add_optimization_profile(profile)


def _shapes(text: str) -> Dict[str, Tuple[int, ...]]:  # noqa: UP006
    found = {}
    for part in filter(None, text.split(",")):
        # The last colon: names of TensorFlow tensors hold colons themselves.
        name, _, dims = part.rpartition(":")
        found[name] = tuple(int(size) for size in dims.split("x"))
    return found


def _format(trt: Any, network: Any, options: Dict[str, str], typed: bool) -> None:  # noqa: UP006
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    for tensors, text in ((inputs, options.get("inputIOFormats", "")), (outputs, options.get("outputIOFormats", ""))):
        formats: List[str] = [part for part in text.split(",") if part]  # noqa: UP006
        wanted = formats * len(tensors) if len(formats) == 1 else formats
        if wanted and len(wanted) != len(tensors):
            raise Wrong(f"{len(wanted)} I/O formats for {len(tensors)} tensors")
        for tensor, one in zip(tensors, wanted):  # noqa: B905 - Python 3.8
            kind, _, layouts = one.partition(":")
            if not typed:
                tensor.dtype = getattr(trt.DataType, _TYPES[kind])
            names = [_LAYOUTS.get(name, name.upper()) for name in layouts.split("+")]
            tensor.allowed_formats = sum(1 << int(getattr(trt.TensorFormat, name)) for name in names)


def _precision(trt: Any, config: Any, options: Dict[str, str]) -> Any:  # noqa: UP006
    """The flags of releases up to 10; a calibrator that reads the cache, which must outlive the build."""
    if "fp16" in options:
        config.set_flag(trt.BuilderFlag.FP16)
    if "int8" not in options:
        return None
    config.set_flag(trt.BuilderFlag.INT8)
    if "calib" not in options:
        raise Wrong("the Python API invents no INT8 scales as trtexec does: give a calibration cache")
    with open(options["calib"], "rb") as file:
        cache = file.read()

    class Reader(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        """Gives the cache; without images TensorRT cannot ask for more."""

        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: object) -> None:
            return None

        def read_calibration_cache(self) -> bytes:
            return cache

        def write_calibration_cache(self, content: object) -> None:
            return None

    calibrator = Reader()
    config.int8_calibrator = calibrator
    return calibrator


def _logger(trt: Any, lowest: str) -> Any:
    order = list(_LETTERS)

    class Printer(trt.ILogger):  # type: ignore[misc]
        """Prints what trtexec would."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            name = getattr(severity, "name", str(severity))
            if name in order and order.index(name) <= order.index(lowest):
                _log(_LETTERS[name], f"[TRT] {msg}")

    return Printer()


def _log(letter: str, text: str) -> None:
    _say(f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [{letter}] {text}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _number(version: str) -> str:
    """8.5.2.2 → 8502, 10.3.0 → 100300, as trtexec writes it."""
    major, minor, patch = [int(part) for part in version.split(".")[:3]]
    return f"{major}{minor}{patch:02}" if major < 10 else f"{major}{minor:02}{patch:02}"
