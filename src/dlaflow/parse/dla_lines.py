"""What the verbose log tells of the DLA compiler: pools, accepted subgraphs, their layers, measured tactics."""

from __future__ import annotations

import re
from dataclasses import replace

from dlaflow.parse import tensors
from dlaflow.parse.log import DlaBuild, DlaLayer, DlaMemory, DlaTactic, Loadable
from dlaflow.parse.text import number

_OFFLOADED = re.compile(r"(.+) successfully offloaded to DLA\.")
_CANDIDATES = re.compile(r"\s*Number of DLA node candidates offloaded : (\d+) out of (\d+)")
_NETWORK = re.compile(r"(.+?):? DLA Network Layer Information:")
_RUNNER = re.compile(r"-+ Timing Runner: (.+) \(DLA(?:\[[^\]]*\])?\)")
_FORMATS = re.compile(r"\*+ Autotuning format combination: (.*?) \*+")
_TACTIC = re.compile(r"Tactic: (\S+) (?:\(.*?\) )?Time: (\S+)")


class DlaReader:
    """Collects these lines; `feed` tells whether a line was one of them."""

    def __init__(self) -> None:
        self.timing_node = ""
        """The DLA node whose tactics are being timed, or empty."""
        self.opened_network = False
        """Whether the last line fed opened a list of layers."""
        self.formats = ""
        """The line that told the formats now being timed."""
        self._pools: DlaMemory | None = None
        self._total: DlaMemory | None = None
        self._counts: tuple[int, int] | None = None
        self._loadables: list[Loadable] = []
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
            self._loadables.append(Loadable(match.group(1), None))
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
        memory = tensors.memory_of(text)
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
        layer = tensors.dla_layer(text, self._network)
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
