"""What trtexec says of itself before and around the work: options, device, model, bindings, build figures."""

from __future__ import annotations

import re
from dataclasses import replace

from dlaflow.parse.log import Binding, BuildFigures, Device, OnnxFile, Option
from dlaflow.parse.text import integer, number

_VERSION = re.compile(r"(?:TensorRT version:? *|Loaded Module: tensorrt +\| Version: )(\d+\.\d+\.\d+)")
_CLOCK = re.compile(r"([\d.]+) GHz")
_BUS = re.compile(r"(\d+) bits(?: \(ECC (enabled|disabled)\))?")
_AVAILABLE = re.compile(r'Device \d+: "(.*?)"')
_BINDING = re.compile(
    r"(?:(Input|Output) binding for (.+) with dimensions (\S*) (?:and type \S+ )?is created\.?"
    r"|Created (input|output) binding for (.+) with dimensions (\S*))\s*$"
)
_NETWORK_OUTPUT = re.compile(r"Marking .+ as output: (.+)")
_DETECTED = re.compile(r"Detected (\d+) inputs? and (\d+) output")
_NETWORK_INPUT = re.compile(r"Adding network input: (.+) with dtype: \w+, dimensions: \(([^)]*)\)")
_ONNX_KEYS = ("Input filename:", "ONNX IR version:", "Opset version:", "Producer name:", "Producer version:")


def version_in(text: str) -> str | None:
    """The version of a line that tells it (trtexec from 8.0, jetson-inference, Polygraphy), or None."""
    match = _VERSION.match(text)
    return match.group(1) if match else None


def option_of(section: str, text: str) -> Option | None:
    """A banner line, split at its first colon, or None when it has none (an item of the key before)."""
    key, colon, value = text.partition(":")
    return Option(section, key.strip(), value.strip()) if colon and key.strip() else None


def device_with(device: Device, text: str) -> Device:
    """`device` with what one line of `Device Information` adds."""
    if match := _AVAILABLE.search(text):
        return replace(device, available=(*device.available, match.group(1)))
    key, _, value = (part.strip() for part in text.partition(":"))
    if key == "Selected Device":
        return replace(device, name=value)
    if key == "Compute Capability":
        return replace(device, compute_capability=value)
    if key == "SMs":
        return replace(device, sms=integer(value))
    if key.endswith("Compute Clock Rate"):
        return replace(device, compute_clock_ghz=_clock(value))
    if key.endswith("Memory Clock Rate"):
        return replace(device, memory_clock_ghz=_clock(value))
    if key == "Device Global Memory":
        return replace(device, global_memory_mib=integer(value.split(" ")[0]))
    if key == "Shared Memory per SM":
        return replace(device, shared_memory_per_sm_kib=integer(value.split(" ")[0]))
    if key == "Memory Bus Width" and (bus := _BUS.match(value)):
        ecc = None if bus.group(2) is None else bus.group(2) == "enabled"
        return replace(device, memory_bus_bits=int(bus.group(1)), ecc=ecc)
    return device


def _clock(value: str) -> float | None:
    match = _CLOCK.match(value)
    return number(match.group(1)) if match else None


def model_with(model: OnnxFile | None, text: str) -> OnnxFile | None:
    """`model` with what a line of the parser's header adds, or None when `text` is no such line."""
    if not text.startswith(_ONNX_KEYS):
        return None
    known = model or OnnxFile()
    key, _, value = (part.strip() for part in text.partition(":"))
    if key == "Input filename":
        return replace(known, filename=value)
    if key == "ONNX IR version":
        return replace(known, ir_version=value)
    if key == "Opset version":
        return replace(known, opset=integer(value))
    return replace(known, producer=value) if key == "Producer name" else replace(known, producer_version=value)


def binding_of(text: str) -> Binding | None:
    """An input or output with its dimensions (`Input binding for ...`, `Adding network input: ...`), or None."""
    if match := _BINDING.match(text):
        groups = match.groups()
        role, name, dims = groups[:3] if groups[0] else groups[3:]
        return Binding(name, role.lower(), _sizes(dims.split("x")))
    if match := _NETWORK_INPUT.match(text):
        return Binding(match.group(1), "input", _sizes(match.group(2).split(",")))
    if match := _NETWORK_OUTPUT.match(text):
        return Binding(match.group(1).strip(), "output", ())
    return None


def _sizes(parts: list[str]) -> tuple[int, ...]:
    return tuple(size for part in parts if (size := integer(part.strip())) is not None)


_PEAK = re.compile(
    r"\[MemUsageStats\] Peak memory usage of TRT CPU/GPU memory allocators: CPU (\d+) MiB, GPU (\d+) MiB"
)
_SECONDS = re.compile(r"(Finished parsing network model\. Parse time:|Engine built in|Engine deserialized in) (\S+)")
_SIZE = re.compile(
    r"(Created engine with size:|Loaded engine size:|Created execution context with device memory size:) (\S+) Mi?B"
)
_QUERIES = re.compile(r"(Warmup completed|Timing trace has) (\d+) queries over")


def figures_with(figures: BuildFigures, text: str) -> BuildFigures | None:
    """`figures` with what one line adds, or None when it is no such line. The exact engine size beats the rounded."""
    if match := _QUERIES.match(text):
        count = int(match.group(2))
        if text.startswith("Warmup"):
            return replace(figures, warmup_queries=count)
        return replace(figures, timed_queries=count)
    if match := _SECONDS.match(text):
        seconds = number(match.group(2).rstrip(","))
        if text.startswith("Finished"):
            return replace(figures, parse_s=seconds)
        return replace(figures, build_s=seconds) if "built" in text else replace(figures, deserialize_s=seconds)
    if match := _SIZE.match(text):
        size = number(match.group(2))
        if "context" in match.group(1):
            return replace(figures, context_mib=size)
        exact = text.startswith("Created") or figures.engine_mib is None
        return replace(figures, engine_mib=size) if exact else figures
    if match := _DETECTED.match(text):
        return replace(figures, network_inputs=int(match.group(1)), network_outputs=int(match.group(2)))
    if match := _PEAK.match(text):
        return replace(figures, peak_cpu_mib=int(match.group(1)), peak_gpu_mib=int(match.group(2)))
    return None
