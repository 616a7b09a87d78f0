"""Behaviour for the strict doubles: a small machine that parses ONNX, calibrates, "builds" and runs engines.

Its plan is the ONNX model, and its execution reads and writes host memory and computes with onnxruntime: calibration,
evaluation and numbers are real; only the GPU and the DLA are not.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

_HERE = Path(__file__).parent
_SHARED = Path(os.environ.get("DLAFLOW_EVIDENCE") or _HERE.parents[2] / "shared" / "evidence").parent
DUMPS = _SHARED / "trt_api"
RELEASES = ("8.6.1", "10.3.0", "10.16.1", "11.4.0")

_spec = importlib.util.spec_from_file_location("tensorrt_surface", _HERE / "tensorrt_surface.py")
_surface = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_surface)
Surface = _surface.Surface
_NOT_ON_DLA = {"GlobalAveragePool", "InstanceNormalization", "Reshape", "Shape", "Constant", "Flatten"}
_KINDS = {"Conv": "CONVOLUTION", "Relu": "ACTIVATION", "Gemm": "MATRIX_MULTIPLY", "GlobalAveragePool": "REDUCE"}
_MAGIC = b"double\n"


@dataclass
class Machine:
    """A release on a pretended board, and what was asked of it."""

    trt: object
    surface: object
    cores: int = 2
    cache_tag: str = ""
    calibrated: list[np.ndarray] = field(default_factory=list)
    requests: dict = field(default_factory=dict)
    plugins_ready: bool = False
    runtimes: list = field(default_factory=list)


class HostMemory:
    """Device memory that is host memory, so that the double can read what was uploaded."""

    name = "host"
    stream = 7
    compute_capability = "8.7"

    def __init__(self) -> None:
        self.waits = 0

    def allocate(self, size: int) -> HostBuffer:
        return HostBuffer(size)

    def synchronize(self) -> None:
        self.waits += 1


class HostBuffer:
    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = np.zeros(size, np.uint8)

    @property
    def address(self) -> int:
        return self._bytes.ctypes.data

    def upload(self, values: np.ndarray) -> None:
        self._bytes[: values.nbytes] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)

    def download(self, values: np.ndarray) -> None:
        values.reshape(-1).view(np.uint8)[:] = self._bytes[: values.nbytes]


def read_address(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """The floats at an address."""
    count = int(np.prod(shape))
    return np.frombuffer(memoryview((ctypes.c_float * count).from_address(address)), np.float32).reshape(shape).copy()


def load_machine(release: str) -> Machine:
    """The double of a release; FileNotFoundError where the dump is absent."""
    surface = Surface(DUMPS / f"tensorrt-{release}.json")
    machine = Machine(surface.module, surface)
    numbers = [int(part) for part in surface.version.split(".")[:3]]
    scale = 10_000 if numbers[0] >= 10 else 1_000
    machine.cache_tag = str(numbers[0] * scale + numbers[1] * 100 + numbers[2])
    _teach_build(machine)
    _teach_run(machine)
    return machine


def _teach_build(machine: Machine) -> None:
    surface, trt = machine.surface, machine.trt
    does = surface.behaviour

    def parse(parser: object, path: str) -> bool:
        try:
            model = onnx.load(path)
            onnx.checker.check_model(model)
        except Exception as error:
            log(parser._logger, "ERROR", f"MODEL_DESERIALIZE_FAILED: {error}")
            complaint = surface.make("ParserError")
            complaint._node, complaint._operator, complaint._text = -1, "", "the model cannot be read"
            parser._errors.append(complaint)
            return False
        network = parser._network
        network._parser_flags = parser._flags
        network._model = model.SerializeToString()
        network._inputs = [tensor(value) for value in model.graph.input]
        network._outputs = [tensor(value) for value in model.graph.output]
        kinds = trt.LayerType
        network._layers = [
            surface.make("ILayer", name=node.name, type=getattr(kinds, _KINDS.get(node.op_type, "SHUFFLE")))
            for node in model.graph.node
        ]
        for layer, node in zip(network._layers, model.graph.node, strict=True):
            layer._op = node.op_type
        return True

    def tensor(value: onnx.ValueInfoProto) -> object:
        shape = tuple(dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim)
        made = surface.make("ITensor", name=value.name, shape=shape)
        made._state["dtype"] = trt.DataType.FLOAT
        return made

    def start_parser(parser: object, network: object, logger: object) -> None:
        parser._network, parser._logger, parser._errors, parser._flags = network, logger, [], []
        parser._surface = surface

    def network(builder: object, flags: int = 0) -> object:
        made = surface.make("INetworkDefinition")
        made._flags = flags
        return made

    def settings(builder: object) -> object:
        made = surface.make("IBuilderConfig")
        made._flags, made._pools, made._profiles, made._devices = set(), {}, [], {}
        made._calibration = None
        return made

    does["Builder", "__init__"] = lambda builder, logger: setattr(builder, "_logger", logger)
    does["Builder", "num_DLA_cores"] = lambda builder: machine.cores
    does["Builder", "create_network"] = network
    does["Builder", "create_builder_config"] = settings
    does["Builder", "create_optimization_profile"] = lambda builder: surface.make("IOptimizationProfile")
    does["Builder", "build_serialized_network"] = lambda builder, net, config: _build(machine, builder, net, config)
    does["IOptimizationProfile", "set_shape"] = lambda profile, name, *shapes: setattr(
        profile, "_shapes", (name, shapes)
    )
    does["OnnxParser", "__init__"] = start_parser
    does["OnnxParser", "parse_from_file"] = parse
    does["OnnxParser", "num_errors"] = lambda parser: len(parser._errors)
    does["OnnxParser", "get_error"] = lambda parser, index: parser._errors[index]
    does["OnnxParser", "set_flag"] = lambda parser, flag: parser._flags.append(flag.name)
    does["OnnxParser", "set_builder_config"] = lambda parser, config: setattr(parser, "_config", config) or True
    does["OnnxParser", "supports_model_v2"] = lambda parser, content, path=None: _report(parser, content)
    does["OnnxParser", "num_subgraphs"] = lambda parser: len(parser._subgraphs)
    does["OnnxParser", "is_subgraph_supported"] = lambda parser, index: parser._subgraphs[index][1]
    does["OnnxParser", "get_subgraph_nodes"] = lambda parser, index: parser._subgraphs[index][0]
    does["ParserError", "node"] = lambda error: error._node
    does["ParserError", "desc"] = lambda error: error._text
    does["ParserError", "node_operator"] = does["ParserError", "node_name"] = lambda error: error._operator
    for side in ("input", "output", "layer"):
        does["INetworkDefinition", f"num_{side}s"] = lambda net, side=side: len(getattr(net, f"_{side}s"))
        does["INetworkDefinition", f"get_{side}"] = lambda net, index, side=side: getattr(net, f"_{side}s")[index]
    does["IBuilderConfig", "set_flag"] = lambda config, flag: config._flags.add(flag.name)
    does["IBuilderConfig", "set_memory_pool_limit"] = lambda config, pool, size: config._pools.update({pool.name: size})
    does["IBuilderConfig", "set_device_type"] = lambda config, layer, kind: config._devices.update(
        {layer.name: kind.name}
    )
    does["IBuilderConfig", "can_run_on_DLA"] = lambda config, layer: layer._op not in _NOT_ON_DLA
    does["IBuilderConfig", "add_optimization_profile"] = lambda config, profile: config._profiles.append(profile) or 0
    does["IBuilderConfig", "set_calibration_profile"] = lambda config, one: setattr(config, "_calibration", one) or True
    does["IBuilderConfig", "create_timing_cache"] = lambda config, content: surface.make("ITimingCache")
    does["IBuilderConfig", "set_timing_cache"] = lambda config, cache, ignore: setattr(config, "_timing", cache) or True
    does["IBuilderConfig", "get_timing_cache"] = lambda config: config._timing
    does["ITimingCache", "serialize"] = lambda cache: _memory(surface, b"timings")
    does["Logger", "__init__"] = lambda instance, severity=None: None
    does["Logger", "log"] = lambda instance, severity, text: None
    for calibrator in ("IInt8EntropyCalibrator2", "IProgressMonitor", "ILogger"):
        does[calibrator, "__init__"] = lambda instance: None
    does["", "init_libnvinfer_plugins"] = lambda logger, namespace: setattr(machine, "plugins_ready", True) or True


def log(logger: object, level: str, text: str) -> None:
    """Say something as the library does."""
    logger.log(getattr(type(logger).__mro__[1].Severity, level), text)


def _report(parser: object, content: bytes) -> bool:
    assert "REPORT_CAPABILITY_DLA" in parser._flags
    assert parser._config.default_device_type.name == "DLA"
    nodes = onnx.load_from_string(bytes(content)).graph.node
    parser._subgraphs = [([index], node.op_type not in _NOT_ON_DLA) for index, node in enumerate(nodes)]
    for index, node in enumerate(nodes):
        if node.op_type == "GlobalAveragePool":
            error = parser._surface.make("ParserError")
            error._node, error._operator, error._text = (
                index,
                node.op_type,
                "DLA cores do not support AVG Reduce operation.",
            )
            parser._errors.append(error)
    return all(supported for _, supported in parser._subgraphs)


def _memory(surface: object, content: bytes) -> object:
    """An IHostMemory. It is a numpy array, since classes of Python support the buffer protocol from 3.12 only."""
    return np.frombuffer(content, np.uint8).copy()


def _build(machine: Machine, builder: object, network: object, config: object) -> object:
    state = config._state
    on_dla = state.get("default_device_type") is not None
    monitor = state.get("progress_monitor")
    if monitor is not None:
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Timing", "Building engine", 1)
        monitor.step_complete("Timing", 0)
        monitor.phase_finish("Timing")
        monitor.step_complete("Building engine", 0)
        monitor.step_complete("Building engine", 1)
        monitor.phase_finish("Building engine")
    if on_dla and "GPU_FALLBACK" not in config._flags:
        refused = [layer.name for layer in network._layers if layer._op in _NOT_ON_DLA]
        if refused:
            log(builder._logger, "ERROR", f"{refused[0]} is not supported on DLA and GPU fallback is not enabled.")
            return None
    if "INT8" in config._flags:
        _calibrate(machine, network, config)
    machine.requests = {
        "flags": sorted(config._flags),
        "network_flags": network._flags,
        "parser_flags": network._parser_flags,
        "state": {name: getattr(value, "name", value) for name, value in state.items() if "monitor" not in name},
        "pools": config._pools,
        "devices": config._devices,
        "precisions": {one.name: one._state["precision"].name for one in network._layers if "precision" in one._state},
        "formats": [one._state.get("allowed_formats") for one in (*network._inputs, *network._outputs)],
        "types": [one._state["dtype"].name for one in (*network._inputs, *network._outputs)],
        "calibration_profile": config._calibration is not None,
        "profiles": len(config._profiles),
    }
    shapes = dict(one._shapes for one in config._profiles)
    head = json.dumps({"release": machine.surface.version, "shapes": shapes}).encode()
    return _memory(machine.surface, _MAGIC + head + b"\n" + network._model)


def _calibrate(machine: Machine, network: object, config: object) -> None:
    calibrator = config._state.get("int8_calibrator")
    if calibrator is None:
        return
    size = calibrator.get_batch_size()
    cache = calibrator.read_calibration_cache()
    if cache is not None and bytes(cache).startswith(b"TRT-%s-Entropy" % machine.cache_tag.encode()):
        names = {line.rpartition(b": ")[0].decode() for line in bytes(cache).splitlines()[1:]}
        if network._inputs[0].name in names:
            calibrator.write_calibration_cache(cache)
            return
    shape = (size, *network._inputs[0].shape[1:])
    while (addresses := calibrator.get_batch([network._inputs[0].name])) is not None:
        machine.calibrated.append(read_address(addresses[0], shape))
    if machine.calibrated:
        calibrator.write_calibration_cache(
            b"TRT-%s-EntropyCalibration2\ninput: 3c000000\n" % machine.cache_tag.encode()
        )


def _teach_run(machine: Machine) -> None:
    surface, trt = machine.surface, machine.trt
    does = surface.behaviour

    def deserialize(runtime: object, content: bytes) -> object | None:
        content = bytes(content)
        if not content.startswith(_MAGIC):
            log(
                runtime._logger,
                "ERROR",
                "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed: magicTag",
            )
            return None
        head, _, model = content[len(_MAGIC) :].partition(b"\n")
        told = json.loads(head)
        if told["release"] != surface.version:
            log(
                runtime._logger, "ERROR", "Version tag does not match. Current Version: 1, Serialized Engine Version: 2"
            )
            return None
        engine = surface.make("ICudaEngine")
        engine._profile = told["shapes"]
        engine._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        values = [(one, True) for one in engine._session.get_inputs()]
        values += [(one, False) for one in engine._session.get_outputs()]
        engine._io = [(one.name, is_input, _dims(one.shape)) for one, is_input in values]
        machine.runtimes.append(runtime)
        return engine

    def context(engine: object, *unused: object) -> object:
        made = surface.make("IExecutionContext")
        made._engine, made._shape, made._addresses = engine, {one[0]: one[2] for one in engine._io}, {}
        return made

    def set_shape(made: object, key: object, shape: tuple[int, ...]) -> bool:
        name = made._engine._io[key][0] if isinstance(key, int) else key
        smallest, _, largest = made._engine._profile[name]
        if any(not low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
            return False
        made._shape[name] = tuple(shape)
        for other, is_input, dims in made._engine._io:
            if not is_input:
                made._shape[other] = (shape[0], *dims[1:])
        return True

    def run(made: object, addresses: dict[str, int]) -> bool:
        name, _, _ = next(one for one in made._engine._io if one[1])
        values = read_address(addresses[name], made._shape[name])
        outputs = made._engine._session.run(None, {name: values})
        names = [one[0] for one in made._engine._io if not one[1]]
        for other, value in zip(names, outputs, strict=True):
            ctypes.memmove(addresses[other], np.ascontiguousarray(value).ctypes.data, value.nbytes)
        return True

    does["Runtime", "__init__"] = lambda runtime, logger: setattr(runtime, "_logger", logger)
    does["Runtime", "num_DLA_cores"] = lambda runtime: machine.cores
    does["Runtime", "deserialize_cuda_engine"] = deserialize
    does["ICudaEngine", "create_execution_context"] = context
    does["ICudaEngine", "num_io_tensors"] = does["ICudaEngine", "num_bindings"] = lambda engine: len(engine._io)
    does["ICudaEngine", "get_tensor_name"] = lambda engine, index: engine._io[index][0]
    does["ICudaEngine", "get_binding_name"] = does["ICudaEngine", "get_tensor_name"]
    does["ICudaEngine", "binding_is_input"] = lambda engine, index: engine._io[index][1]
    does["ICudaEngine", "get_binding_shape"] = lambda engine, index: engine._io[index][2]
    does["ICudaEngine", "get_tensor_shape"] = lambda engine, name: next(one for one in engine._io if one[0] == name)[2]
    does["ICudaEngine", "get_tensor_profile_shape"] = lambda engine, name, index: engine._profile[name]
    does["ICudaEngine", "get_profile_shape"] = lambda engine, index, key: engine._profile[engine._io[key][0]]
    does["ICudaEngine", "get_tensor_mode"] = lambda engine, name: (
        trt.TensorIOMode.INPUT if next(one for one in engine._io if one[0] == name)[1] else trt.TensorIOMode.OUTPUT
    )
    for prefix in ("tensor", "binding"):
        does["ICudaEngine", f"get_{prefix}_dtype"] = lambda engine, key: trt.DataType.FLOAT
        does["ICudaEngine", f"get_{prefix}_format"] = lambda engine, key: trt.TensorFormat.LINEAR
    does["IExecutionContext", "set_input_shape"] = does["IExecutionContext", "set_binding_shape"] = set_shape
    does["IExecutionContext", "get_tensor_shape"] = lambda made, name: made._shape[name]
    does["IExecutionContext", "get_binding_shape"] = lambda made, index: made._shape[made._engine._io[index][0]]
    does["IExecutionContext", "set_tensor_address"] = lambda made, name, one: (
        made._addresses.update({name: one}) or True
    )
    does["IExecutionContext", "execute_async_v3"] = lambda made, stream: run(made, made._addresses)
    does["IExecutionContext", "execute_async_v2"] = lambda made, bindings, stream, consumed=None: run(
        made, {one[0]: address for one, address in zip(made._engine._io, bindings, strict=True)}
    )


def _dims(shape: list[object]) -> tuple[int, ...]:
    return tuple(one if isinstance(one, int) else -1 for one in shape)
