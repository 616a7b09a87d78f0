"""The parts of a trtexec log: what it prints about itself, the figures of the run, what the DLA's compiler did.

The performance summary comes in every release's wording: averages (5.x, 6.x), blocks (7.x), lines (8.0 on). The table
of layers is read by its header, with the layer's name first (7.x to 8.5) or last (8.6 on). Only the verbose log holds
the layers of the engine and of the compiler, `Layer(KIND): name, ...: inputs -> outputs` as 7.x to 10.x note them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dlaflow.parse import log
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


def option_of(section: str, text: str) -> log.Option | None:
    """A banner line, split at its first colon, or None when it has none (an item of the key before)."""
    key, colon, value = text.partition(":")
    return log.Option(section, key.strip(), value.strip()) if colon and key.strip() else None


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


def device_with(device: log.DeviceInfo, text: str) -> log.DeviceInfo:
    """`device` with what one line of `Device Information` adds."""
    if match := _AVAILABLE.search(text):
        return replace(device, available=(*device.available, match.group(1)))
    key, _, value = (part.strip() for part in text.partition(":"))
    if key == "Memory Bus Width" and (bus := _BUS.match(value)):
        ecc = None if bus.group(2) is None else bus.group(2) == "enabled"
        return replace(device, memory_bus_bits=int(bus.group(1)), ecc=ecc)
    known = _DEVICE_FIELDS.get(key.removeprefix("Application "))
    return _with(device, known, value) if known else device


def model_with(model: log.OnnxFile | None, text: str) -> log.OnnxFile | None:
    """`model` with what a line of the parser's header adds, or None when `text` is no such line."""
    key, colon, value = text.partition(":")
    known = _MODEL_FIELDS.get(key) if colon else None
    return _with(model or log.OnnxFile(), known, value.strip()) if known else None


def _with(record: Any, field: tuple[str, Callable[[str], object]], value: str) -> Any:
    name, convert = field
    return replace(record, **{name: convert(value)})


def binding_of(text: str) -> log.Binding | None:
    """An input or output with its dimensions (`Input binding for ...`, `Adding network input: ...`), or None."""
    if match := _BINDING.match(text):
        groups = match.groups()
        role, name, dims = groups[:3] if groups[0] else groups[3:]
        return log.Binding(name, role.lower(), integers(dims.split("x")))
    if match := _NETWORK_INPUT.match(text):
        return log.Binding(match.group(1), "input", integers(match.group(2).split(",")))
    if match := _NETWORK_OUTPUT.match(text):
        return log.Binding(match.group(1).strip(), "output", ())
    return None


def figures_with(figures: log.BuildFigures, text: str) -> log.BuildFigures | None:
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


_AVERAGE = re.compile(
    r"Average on (\d+) runs - GPU latency: (\S+) ms - Host latency: (\S+) ms"
    r" \((?:end to end (\S+) ms)?(?:, )?(?:enqueue (\S+) ms)?\)"
)
_OLD_AVERAGE = re.compile(r"Average over (\d+) runs is (\S+) ms \(host walltime is (\S+) ms")
_ROW = re.compile(
    r"(Latency|End-to-End Host Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): min = (.*)"
)
_STATISTIC = re.compile(r"(min|max|mean|median) = (\S+?) ms")
_PERCENTILE = re.compile(r"percentile\((\d+(?:\.\d+)?)%\) = (\S+?) ms")
_TOTAL = re.compile(r"(Total Host Walltime|Total GPU Compute Time|Throughput): (\S+) (?:s|qps)$")

_BLOCKS = {"host latency": "latency", "enqueue time": "enqueue", "gpu compute": "gpu_compute"}
_BLOCK_STATISTIC = re.compile(r"(min|max|mean|median): (\S+) ms(?: \(end to end (\S+) ms\))?$")
_BLOCK_PERCENTILE = re.compile(
    r"percentile: (\S+) ms at (\d+(?:\.\d+)?)%(?: \(end to end (\S+) ms at \d+(?:\.\d+)?%\))?$"
)
_BLOCK_TOTAL = re.compile(r"(throughput|walltime|total compute time): (\S+) (?:qps|s)$")

_NAMES = {
    "Latency": "latency",
    "End-to-End Host Latency": "end_to_end",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "gpu_compute",
    "D2H Latency": "d2h",
}
_TOTALS = {
    "Throughput": "throughput_qps",
    "throughput": "throughput_qps",
    "Total Host Walltime": "walltime_s",
    "walltime": "walltime_s",
    "Total GPU Compute Time": "gpu_total_s",
    "total compute time": "gpu_total_s",
}


def trace_average(text: str) -> log.TraceAverage | None:
    """One `Average on N runs` line (7.0 on) or `Average over N runs` line (5.x, 6.x), or None."""
    match = _AVERAGE.match(text) or _OLD_AVERAGE.match(text)
    if match is None:
        return None
    runs, gpu, host, end_to_end, enqueue = (*match.groups(""), "", "")[:5]
    gpu_ms, host_ms = number(gpu), number(host)
    if gpu_ms is None or host_ms is None:
        return None
    return log.TraceAverage(int(runs), gpu_ms, host_ms, number(end_to_end), number(enqueue))


class SummaryReader:
    """Collects the lines of one summary; `feed` returns whether a line belonged to it."""

    def __init__(self) -> None:
        self._statistics: dict[str, dict[str, float]] = {}
        self._percentiles: dict[str, list[log.Percentile]] = {}
        self._totals: dict[str, float] = {}
        self._block = ""

    def feed(self, text: str) -> bool:
        """Take `text` in if it is a line of a summary."""
        if match := _ROW.match(text):
            name, self._block = _NAMES[match.group(1)], ""
            self._statistics[name], self._percentiles[name] = {}, []
            for key, value in _STATISTIC.findall(f"min = {match.group(2)}"):
                self._put(name, key, value)
            for percent, value in _PERCENTILE.findall(match.group(2)):
                self._put_percentile(name, percent, value)
            return True
        if match := _TOTAL.match(text) or _BLOCK_TOTAL.match(text):
            total = number(match.group(2))
            if total is not None:
                self._totals[_TOTALS[match.group(1)]] = total
            return total is not None
        block = _BLOCKS.get(text.strip().lower())
        self._block = block or self._block
        return block is not None or (bool(self._block) and self._block_line(text))

    def _block_line(self, text: str) -> bool:
        if match := _BLOCK_STATISTIC.match(text):
            key, value, end_to_end = match.groups()
            self._put(self._block, key, value)
            self._put("end_to_end", key, end_to_end)
        elif match := _BLOCK_PERCENTILE.match(text):
            value, percent, end_to_end = match.groups()
            self._put_percentile(self._block, percent, value)
            self._put_percentile("end_to_end", percent, end_to_end)
        return match is not None

    def _put(self, name: str, key: str, text: str | None) -> None:
        value = number(text or "")
        if value is not None:
            self._statistics.setdefault(name, {})[key] = value

    def _put_percentile(self, name: str, percent: str, text: str | None) -> None:
        value = number(text or "")
        if value is not None:
            self._percentiles.setdefault(name, []).append(log.Percentile(float(percent), value))

    def finish(self) -> log.Performance | None:
        """The summary, or None when no line of one was seen."""
        if not self._statistics and not self._totals:
            return None
        times: dict[str, Any] = {
            name: log.Times(**self._statistics.get(name, {}), percentiles=tuple(self._percentiles.get(name, ())))
            for name in {**self._statistics, **self._percentiles}
        }
        totals: dict[str, Any] = self._totals
        return log.Performance(**times, **totals)


_TITLE = re.compile(r"=== Profile \((\d+) iterations ?\) ===")


def profile_title(text: str) -> int | None:
    """The number of iterations in a `=== Profile (N iterations ) ===` line, or None."""
    match = _TITLE.match(text)
    return int(match.group(1)) if match else None


class TableReader:
    """Reads the rows after the title; `feed` returns whether the line still belonged to the table."""

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._columns = 0
        self._name_last = False
        self._rows: list[log.ProfileRow] = []
        self._total: log.ProfileRow | None = None

    def feed(self, text: str) -> bool:
        """Take in a header or a row."""
        if not self._columns:
            return self._header(text)
        if self._total is not None:
            return False
        row = self._row(text)
        if row is None:
            return False
        if row.name == "Total":
            self._total = row
        else:
            self._rows.append(row)
        return True

    def _header(self, text: str) -> bool:
        words = text.split()
        if "Layer" not in words or not any(word.startswith("Time") for word in words):
            return False
        self._name_last = words[-1] == "Layer"
        self._columns = 4 if any(word.startswith("Median") for word in words) else 3
        return True

    def _row(self, text: str) -> log.ProfileRow | None:
        columns = self._columns
        parts = text.split(None, columns) if self._name_last else text.rsplit(None, columns)
        if len(parts) != columns + 1:
            return None
        name = parts.pop(-1 if self._name_last else 0).strip()
        values = [value for figure in parts if (value := number(figure.rstrip("%"))) is not None]
        if not name or len(values) != columns:
            return None
        median = values[2] if columns == 4 else None
        return log.ProfileRow(name, values[0], values[1], median, values[-1])

    def finish(self) -> log.Profile:
        """The table so far."""
        return log.Profile(self._iterations, tuple(self._rows), self._total)


_ENGINE_LAYER = re.compile(r"Layer\((\w+)\): (.+?), Tactic: (-?[0-9a-fA-Fx]+)(?: \([^)]*\))?,? ?(.*?) ?-> (.*)")
_ENGINE_LAYER_BARE = re.compile(r"Layer\((\w+)\): (.+)")
_DLA_LAYER = re.compile(r"Layer\((\w+)\): (.+?), Precision: (\w+), ?(.*?) ?-> (.*)")
_TENSOR = re.compile(r"(.+?)(?: \((\w+)\[([^\]]*)\]\)|'?\[(\w+)\(\[?([^\])]*)\]?\)\])(?:, |\s*$)")
_MEMORY = re.compile(r"Managed SRAM = (\d+) MiB,\s*Local DRAM = (\d+) MiB,\s*Global DRAM = (\d+) MiB")


def tensors_of(text: str) -> tuple[log.PrintedTensor, ...]:
    """The tensors of one side of the arrow. What has no type keeps its name alone."""
    tensors = []
    end = 0
    for match in _TENSOR.finditer(text):
        name, dtype, dims, other_dtype, other_dims = match.groups()
        vector, dimensions = _dimensions(dims if dtype else other_dims or "")
        tensors.append(log.PrintedTensor(name.strip(), dtype or other_dtype or "", dimensions, vector))
        end = match.end()
    if rest := text[end:].strip(" ,"):
        tensors.append(log.PrintedTensor(rest, "", ()))
    return tuple(tensors)


def _dimensions(text: str) -> tuple[int | None, tuple[int, ...]]:
    """`1,2048:16,7,7` → (16, (1, 2048, 7, 7))."""
    vector: int | None = None
    dimensions = []
    for part in text.split(","):
        size, colon, width = part.strip().partition(":")
        if colon:
            vector = integer(width)
        value = integer(size)
        if value is not None:
            dimensions.append(value)
    return vector, tuple(dimensions)


def engine_layer(text: str) -> log.EngineLayer | None:
    """A line of `Engine Layer Information`, or None."""
    if text.startswith("Name: ") and ", LayerType: " in text:
        name, _, rest = text.removeprefix("Name: ").partition(", LayerType: ")
        return log.EngineLayer(rest.partition(",")[0], name, "", (), ())
    if not text.startswith("Layer("):
        return None
    if match := _ENGINE_LAYER.match(text):
        kind, name, tactic, inputs, outputs = match.groups()
        return log.EngineLayer(kind, name, tactic, tensors_of(inputs), tensors_of(outputs))
    if match := _ENGINE_LAYER_BARE.match(text):
        return log.EngineLayer(match.group(1), match.group(2).split(", Tactic: ")[0], "", (), ())
    return None


def dla_layer(text: str, loadable: str) -> log.DlaLayer | None:
    """A line of `DLA Network Layer Information` of the node `loadable`, or None."""
    match = _DLA_LAYER.match(text)
    if match is None:
        return None
    kind, name, precision, inputs, outputs = match.groups()
    return log.DlaLayer(loadable, kind, name, precision, tensors_of(inputs), tensors_of(outputs))


def memory_of(text: str) -> log.DlaMemory | None:
    """The three pools of a `Managed SRAM = ..., Local DRAM = ..., Global DRAM = ...` text, or None."""
    match = _MEMORY.search(text)
    return log.DlaMemory(*map(int, match.groups())) if match else None


_OFFLOADED = re.compile(r"(.+) successfully offloaded to DLA\.")
_CANDIDATES = re.compile(r"\s*Number of DLA node candidates offloaded : (\d+) out of (\d+)")
_NETWORK = re.compile(r"(.+?):? DLA Network Layer Information:")
_RUNNER = re.compile(r"-+ Timing Runner: (.+) \(DLA(?:\[[^\]]*\])?\)")
_FORMATS = re.compile(r"\*+ Autotuning format combination: (.*?) \*+")
_TACTIC = re.compile(r"Tactic: (\S+) (?:\(.*?\) )?Time: (\S+)")


class DlaReader:
    """Collects these lines; `feed` returns whether a line was one of them."""

    def __init__(self) -> None:
        self.timing_node = ""
        """The DLA node whose tactics are being timed, or empty."""
        self.opened_network = False
        """Whether the last line fed opened a list of layers."""
        self.formats = ""
        """The line with the formats now being timed."""
        self._pools: log.DlaMemory | None = None
        self._total: log.DlaMemory | None = None
        self._counts: tuple[int, int] | None = None
        self._loadables: list[log.CompiledSubgraph] = []
        self._network = ""
        self._layers: list[log.DlaLayer] = []
        self._tactics: list[log.DlaTactic] = []

    def feed(self, text: str) -> bool:
        """Take in a heading or a figure."""
        self.opened_network = False
        if self.timing_node and text.startswith("Tactic: "):
            return self._tactic(text)
        if "Managed SRAM" in text:
            return self._memory(text)
        if "DLA" not in text:
            return False
        if match := _OFFLOADED.match(text):
            self._loadables.append(log.CompiledSubgraph(match.group(1), None))
        elif match := _CANDIDATES.match(text):
            self._counts = (int(match.group(1)), int(match.group(2)))
        elif match := _NETWORK.match(text):
            self._network, self.opened_network = match.group(1), True
        else:
            return text.startswith(("DLA Memory Consumption Summary", "After DLA optimization", ">>>>"))
        return True

    def timing(self, text: str) -> bool:
        """Take in a `Timing Runner` line: whether what follows is timed on the DLA."""
        match = _RUNNER.match(text)
        self.timing_node = match.group(1) if match else ""
        return "Timing Runner" in text

    def _tactic(self, text: str) -> bool:
        match = _TACTIC.match(text)
        time_ms = number(match.group(2)) if match else None
        if match and time_ms is not None:
            formats = _FORMATS.match(self.formats)
            node_formats = formats.group(1) if formats else ""
            self._tactics.append(log.DlaTactic(self.timing_node, node_formats, match.group(1), time_ms))
        return match is not None

    def _memory(self, text: str) -> bool:
        memory = memory_of(text)
        if memory is None:
            return False
        if "Pool Sizes" in text:
            self._pools = memory
        elif "Total memory" in text:
            self._total = memory
        elif self._loadables and self._loadables[-1].memory is None:
            self._loadables[-1] = replace(self._loadables[-1], memory=memory)
        return True

    def layer(self, text: str) -> bool:
        """Take in a layer of the network that was opened last."""
        layer = dla_layer(text, self._network)
        if layer is not None:
            self._layers.append(layer)
        return layer is not None

    def finish(self) -> log.DlaBuild:
        """What the log says of the DLA's compiler."""
        offloaded, candidates = self._counts or (None, None)
        return log.DlaBuild(
            pools=self._pools,
            loadables=tuple(self._loadables),
            offloaded=offloaded,
            candidates=candidates,
            total=self._total,
            layers=tuple(self._layers),
            tactics=tuple(self._tactics),
        )
