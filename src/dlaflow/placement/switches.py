"""Switches: the tensors that cross between the DLA and the GPU. The only place that counts them.

A prediction and a real build are counted alike: both are devices laid over the same placed graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from dlaflow.types import Device, PlacedLayer, Switch


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
