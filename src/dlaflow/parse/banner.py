"""What trtexec prints about itself before and around the work: options, device, model, bindings, build figures."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dlaflow.parse.log import Binding, BuildFigures, DeviceInfo, OnnxFile, Option
from dlaflow.parse.text import integer, integers, number

_VERSION = re.compile(r"(?:TensorRT version:? *|Loaded Module: tensorrt +\| Version: )(\d+\.\d+\.\d+)")
_CLOCK = re.compile(r"([\d.]+) GHz")
_BUS = re.compile(r"(\d+) bits(?: \(ECC (enabled|disabled)\))?")
_AVAILABLE = re.compile(r'Device \d+: "(.*?)"')
_BINDING = re.compile(
    r"(?:(Input|Output) binding for (.+) with dimensions (\S*) (?:and type \S+ )?is created\.?"
    r"|Created (input|output) binding for (.+) with dimensions (\S*))\s*$"
)
_NETWORK_OUTPUT = re.compile(r"Marking .+ as output: (.+)")
_NETWORK_INPUT = re.compile(r"Adding network input: (.+) with dtype: \w+, dimensions: \(([^)]*)\)")
_FIGURES = re.compile(
    r"Warmup completed (?P<warmup_queries>\d+) queries over"
    r"|Timing trace has (?P<timed_queries>\d+) queries over"
    r"|Finished parsing network model\. Parse time: (?P<parse_s>\S+)"
    r"|Engine built in (?P<build_s>\S+)"
    r"|Engine deserialized in (?P<deserialize_s>\S+)"
    r"|Created execution context with device memory size: (?P<context_mib>\S+) Mi?B"
    r"|Created engine with size: (?P<engine_mib>\S+) Mi?B"
    r"|Loaded engine size: (?P<rounded_mib>\S+) Mi?B"
    r"|Detected (?P<network_inputs>\d+) inputs? and (?P<network_outputs>\d+) output"
    r"|\[MemUsageStats\] Peak memory usage of TRT CPU/GPU memory allocators: "
    r"CPU (?P<peak_cpu_mib>\d+) MiB, GPU (?P<peak_gpu_mib>\d+) MiB"
)
_FRACTIONS = frozenset({"parse_s", "build_s", "deserialize_s", "context_mib", "engine_mib", "rounded_mib"})


def version_in(text: str) -> str | None:
    """The version of a line that states it (trtexec from 8.0, jetson-inference, Polygraphy), or None."""
    match = _VERSION.match(text)
    return match.group(1) if match else None


def option_of(section: str, text: str) -> Option | None:
    """A banner line, split at its first colon, or None when it has none (an item of the key before)."""
    key, colon, value = text.partition(":")
    return Option(section, key.strip(), value.strip()) if colon and key.strip() else None


def _clock(value: str) -> float | None:
    match = _CLOCK.match(value)
    return number(match.group(1)) if match else None


def _first_integer(value: str) -> int | None:
    return integer(value.split(" ")[0])


_DEVICE_FIELDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "Selected Device": ("name", str),
    "Compute Capability": ("compute_capability", str),
    "SMs": ("sms", integer),
    "Compute Clock Rate": ("compute_clock_ghz", _clock),
    "Memory Clock Rate": ("memory_clock_ghz", _clock),
    "Device Global Memory": ("global_memory_mib", _first_integer),
    "Shared Memory per SM": ("shared_memory_per_sm_kib", _first_integer),
}
_MODEL_FIELDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "Input filename": ("filename", str),
    "ONNX IR version": ("ir_version", str),
    "Opset version": ("opset", integer),
    "Producer name": ("producer", str),
    "Producer version": ("producer_version", str),
}


def device_with(device: DeviceInfo, text: str) -> DeviceInfo:
    """`device` with what one line of `Device Information` adds."""
    if match := _AVAILABLE.search(text):
        return replace(device, available=(*device.available, match.group(1)))
    key, _, value = (part.strip() for part in text.partition(":"))
    if key == "Memory Bus Width" and (bus := _BUS.match(value)):
        ecc = None if bus.group(2) is None else bus.group(2) == "enabled"
        return replace(device, memory_bus_bits=int(bus.group(1)), ecc=ecc)
    known = _DEVICE_FIELDS.get(key.removeprefix("Application "))
    return _with(device, known, value) if known else device


def model_with(model: OnnxFile | None, text: str) -> OnnxFile | None:
    """`model` with what a line of the parser's header adds, or None when `text` is no such line."""
    key, colon, value = text.partition(":")
    known = _MODEL_FIELDS.get(key) if colon else None
    return _with(model or OnnxFile(), known, value.strip()) if known else None


def _with(record: Any, field: tuple[str, Callable[[str], object]], value: str) -> Any:
    name, convert = field
    return replace(record, **{name: convert(value)})


def binding_of(text: str) -> Binding | None:
    """An input or output with its dimensions (`Input binding for ...`, `Adding network input: ...`), or None."""
    if match := _BINDING.match(text):
        groups = match.groups()
        role, name, dims = groups[:3] if groups[0] else groups[3:]
        return Binding(name, role.lower(), integers(dims.split("x")))
    if match := _NETWORK_INPUT.match(text):
        return Binding(match.group(1), "input", integers(match.group(2).split(",")))
    if match := _NETWORK_OUTPUT.match(text):
        return Binding(match.group(1).strip(), "output", ())
    return None


def figures_with(figures: BuildFigures, text: str) -> BuildFigures | None:
    """`figures` with what one line adds, or None when it is no such line. The exact engine size beats the rounded."""
    match = _FIGURES.match(text)
    if match is None:
        return None
    found: dict[str, Any] = {
        name: number(value.rstrip(",")) if name in _FRACTIONS else int(value)
        for name, value in match.groupdict().items()
        if value is not None
    }
    if "rounded_mib" in found:
        found = {"engine_mib": found["rounded_mib"] if figures.engine_mib is None else figures.engine_mib}
    return replace(figures, **found)
