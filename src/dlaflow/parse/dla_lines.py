"""What only the verbose log holds: the layers of the engine, and of the DLA compiler pools, subgraphs, layers, tactics.

Layers stand as `Layer(KIND): name, ...: inputs -> outputs`, in the notations of 7.x to 10.x.
"""

from __future__ import annotations

import re
from dataclasses import replace

from dlaflow.parse.log import CompiledSubgraph, DlaBuild, DlaLayer, DlaMemory, DlaTactic, EngineLayer, PrintedTensor
from dlaflow.parse.text import integer, number

_ENGINE_LAYER = re.compile(r"Layer\((\w+)\): (.+?), Tactic: (-?[0-9a-fA-Fx]+)(?: \([^)]*\))?,? ?(.*?) ?-> (.*)")
_ENGINE_LAYER_BARE = re.compile(r"Layer\((\w+)\): (.+)")
_DLA_LAYER = re.compile(r"Layer\((\w+)\): (.+?), Precision: (\w+), ?(.*?) ?-> (.*)")
_TENSOR = re.compile(r"(.+?)(?: \((\w+)\[([^\]]*)\]\)|'?\[(\w+)\(\[?([^\])]*)\]?\)\])(?:, |\s*$)")
_MEMORY = re.compile(r"Managed SRAM = (\d+) MiB,\s*Local DRAM = (\d+) MiB,\s*Global DRAM = (\d+) MiB")


def tensors_of(text: str) -> tuple[PrintedTensor, ...]:
    """The tensors of one side of the arrow. What has no type keeps its name alone."""
    tensors = []
    end = 0
    for match in _TENSOR.finditer(text):
        name, dtype, dims, other_dtype, other_dims = match.groups()
        vector, dimensions = _dimensions(dims if dtype else other_dims or "")
        tensors.append(PrintedTensor(name.strip(), dtype or other_dtype or "", dimensions, vector))
        end = match.end()
    if rest := text[end:].strip(" ,"):
        tensors.append(PrintedTensor(rest, "", ()))
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


def engine_layer(text: str) -> EngineLayer | None:
    """A line of `Engine Layer Information`, or None."""
    if text.startswith("Name: ") and ", LayerType: " in text:
        name, _, rest = text.removeprefix("Name: ").partition(", LayerType: ")
        return EngineLayer(rest.partition(",")[0], name, "", (), ())
    if not text.startswith("Layer("):
        return None
    if match := _ENGINE_LAYER.match(text):
        kind, name, tactic, inputs, outputs = match.groups()
        return EngineLayer(kind, name, tactic, tensors_of(inputs), tensors_of(outputs))
    if match := _ENGINE_LAYER_BARE.match(text):
        return EngineLayer(match.group(1), match.group(2).split(", Tactic: ")[0], "", (), ())
    return None


def dla_layer(text: str, loadable: str) -> DlaLayer | None:
    """A line of `DLA Network Layer Information` of the node `loadable`, or None."""
    match = _DLA_LAYER.match(text)
    if match is None:
        return None
    kind, name, precision, inputs, outputs = match.groups()
    return DlaLayer(loadable, kind, name, precision, tensors_of(inputs), tensors_of(outputs))


def memory_of(text: str) -> DlaMemory | None:
    """The three pools of a `Managed SRAM = ..., Local DRAM = ..., Global DRAM = ...` text, or None."""
    match = _MEMORY.search(text)
    return DlaMemory(*map(int, match.groups())) if match else None


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
        self._pools: DlaMemory | None = None
        self._total: DlaMemory | None = None
        self._counts: tuple[int, int] | None = None
        self._loadables: list[CompiledSubgraph] = []
        self._network = ""
        self._layers: list[DlaLayer] = []
        self._tactics: list[DlaTactic] = []

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
            self._loadables.append(CompiledSubgraph(match.group(1), None))
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
            self._tactics.append(DlaTactic(self.timing_node, node_formats, match.group(1), time_ms))
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

    def finish(self) -> DlaBuild:
        """All of it."""
        offloaded, candidates = self._counts or (None, None)
        return DlaBuild(
            pools=self._pools,
            loadables=tuple(self._loadables),
            offloaded=offloaded,
            candidates=candidates,
            total=self._total,
            layers=tuple(self._layers),
            tactics=tuple(self._tactics),
        )
