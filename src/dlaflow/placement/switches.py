"""The connections of a placed graph, and its switches: the tensors that cross between the DLA and the GPU.

This is the only place that counts switches. A prediction and a real build are counted alike: both are devices laid over
the same placed graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dlaflow.types import Device, PlacedLayer, Switch


@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor that goes from one layer that runs to another, both by TensorRT name."""

    source: str
    to: str
    tensor: str


def edges(layers: Sequence[PlacedLayer]) -> list[Edge]:
    """Each tensor that one layer makes and another reads, in the order of the readers; folded layers hand theirs on."""
    makers = {name: layer for layer in layers for name in layer.outputs}
    found = []
    for reader in layers:
        if reader.device is Device.FOLDED:
            continue
        for name in reader.inputs:
            maker, seen = makers.get(name), {name}
            while maker is not None and maker.device is Device.FOLDED:
                before = maker.inputs[0] if maker.inputs else ""
                maker = None if before in seen else makers.get(before)
                seen.add(before)
            if maker is not None and maker is not reader:
                found.append(Edge(maker.name, reader.name, name))
    return found


def switches(layers: Iterable[PlacedLayer], tensors: Mapping[str, int]) -> list[Switch]:
    """Every tensor with a reader on the other device than its maker, once however many such readers it has.

    `layers` are those of a placed graph, in its order; folded ones leave no work and count for nothing. `tensors` maps
    a tensor to its bytes. A tensor crosses once: the copy that the first reader needs serves the others too.
    """
    running = [layer for layer in layers if layer.device is not Device.FOLDED]
    readers: dict[str, list[PlacedLayer]] = defaultdict(list)
    for layer in running:
        for name in layer.inputs:
            readers[name].append(layer)
    found = []
    for layer in running:
        for name in layer.outputs:
            reader = next((each for each in readers[name] if each.device is not layer.device), None)
            if reader is not None:
                found.append(Switch(layer.name, reader.name, name, tensors.get(name, 0)))
    return found
