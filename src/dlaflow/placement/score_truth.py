"""Which device a real build gave to each predicted layer, as far as the build tells."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from dlaflow.graph.layer import Network
from dlaflow.placement.build import DlaEntry, GpuEntry, RealBuild
from dlaflow.placement.score_names import Resolver, is_noise
from dlaflow.types import Device, PlacedLayer, Placement


@dataclass(frozen=True, slots=True)
class Named:
    """One entry of the build: as printed, the device, and the layers that it means."""

    entry: str
    device: Device
    layers: list[PlacedLayer]
    missing: list[str]
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """`devices` maps a layer to (device, the entry that tells it); `named` are the entries, copies left out."""

    devices: dict[str, tuple[Device, str]]
    named: list[Named]


def truth_of(placement: Placement, network: Network, build: RealBuild) -> Truth:
    """Resolve the lists of a build to predicted layers.

    GPU entries name their layers. A subgraph of the DLA names its ends: its layers are those between them in network
    order that no GPU entry names and that the first leads to or that lead to the last. What neither list reaches
    (layers that the builder optimised away) is left out.
    """
    resolver = Resolver(placement)
    named = [_gpu(entry, resolver) for entry in build.gpu if not is_noise(entry.name, entry.kind)]
    devices = {layer.name: (each.device, each.entry) for each in named for layer in each.layers}
    reach = _Reach(placement, network)
    for entry in build.dla:
        each = _dla(entry, resolver)
        named.append(each)
        inside = each.layers if entry.members else _between(each, reach, set(devices))
        for layer in (*each.layers, *inside):
            devices.setdefault(layer.name, (Device.DLA, each.entry))
    return Truth(devices, named)


def _gpu(entry: GpuEntry, resolver: Resolver) -> Named:
    layers, missing = resolver.all(entry.name, entry.kind if "+" not in entry.name else "")
    return Named(entry.name, Device.GPU, layers, missing, constant=entry.kind == "CONSTANT")


def _dla(entry: DlaEntry, resolver: Resolver) -> Named:
    names = entry.members or (entry.first, entry.last)
    layers: dict[str, PlacedLayer] = {}
    missing: list[str] = []
    for name in names:
        found, lost = resolver.all(name)
        layers |= {layer.name: layer for layer in found}
        missing += lost
    printed = entry.first if entry.first == entry.last else f"{entry.first}...{entry.last}"
    return Named(printed, Device.DLA, list(layers.values()), missing)


def _between(named: Named, reach: _Reach, taken: set[str]) -> list[PlacedLayer]:
    places = [reach.order[layer.name] for layer in named.layers]
    if not places:
        return []
    low, high = min(places), max(places)
    near = reach.after(low) | reach.before(high)
    return [
        reach.layers[index] for index in range(low, high + 1) if index in near and reach.layers[index].name not in taken
    ]


class _Reach:
    """Which layers a layer leads to, and which lead to it. Helpers of the builder hang on the layers beside them."""

    def __init__(self, placement: Placement, network: Network) -> None:
        self.layers = placement.layers
        self.order = {layer.name: index for index, layer in enumerate(placement.layers)}
        producers = {tensor.name: layer.name for layer in network.layers for tensor in layer.outputs}
        self._next: dict[int, list[int]] = defaultdict(list)
        self._back: dict[int, list[int]] = defaultdict(list)
        for layer in network.layers:
            for tensor in layer.inputs:
                if tensor.name in producers:
                    source, target = self.order[producers[tensor.name]], self.order[layer.name]
                    self._next[source].append(target)
                    self._back[target].append(source)

    def after(self, start: int) -> set[int]:
        return _walk(start, self._next)

    def before(self, start: int) -> set[int]:
        return _walk(start, self._back)


def _walk(start: int, edges: dict[int, list[int]]) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for other in edges.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen
