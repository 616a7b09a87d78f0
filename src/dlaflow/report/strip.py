"""The placement strip: the layers in execution order as cells, their runs on one device, and the switches between runs.

Layers that fold away before run time are left out. Positions are shares of the strip's width (0..1), one cell a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise

from dlaflow.report.units import count
from dlaflow.types import Device, PlacedLayer, Placement


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring layers on one device (and in one loadable). `start` is the place of its first cell."""

    device: Device
    loadable: int | None
    start: int
    layers: list[PlacedLayer]
    macs: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """A boundary between two runs on different devices, `place` cells from the left.

    `to` is the device that goes on; `tensors` are the switches between exactly these two runs, by name and bytes.
    """

    place: int
    source: Device
    to: Device
    tensors: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Strip:
    """The strip of one placement; `cells` counts the layers in it."""

    cells: int
    runs: list[Run]
    crossings: list[Crossing]


def strip_of(placement: Placement) -> Strip:
    """Lay out the strip of a placement."""
    live = [layer for layer in placement.layers if layer.device is not Device.FOLDED]
    runs: list[Run] = []
    start = 0
    for (device, loadable), group in groupby(live, key=lambda layer: (layer.device, layer.loadable)):
        layers = list(group)
        runs.append(Run(device, loadable, start, layers, sum(layer.macs for layer in layers)))
        start += len(layers)
    crossings = [
        Crossing(after.start, before.device, after.device, _tensors(placement, before, after))
        for before, after in pairwise(runs)
        if before.device is not after.device
    ]
    return Strip(len(live), runs, crossings)


def run_label(run: Run, cells: int) -> str:
    """The text on a run, as long as its room allows (about 1,000 pixels for a strip of `cells` layers)."""
    if run.loadable is None:
        return ""
    room = 1000 * len(run.layers) / cells
    for text in (f"loadable {run.loadable} · {count(len(run.layers), 'layer')}", f"loadable {run.loadable}"):
        if len(text) * 7.4 < room:
            return text
    return str(run.loadable) if room > 22 else ""


def _tensors(placement: Placement, before: Run, after: Run) -> list[tuple[str, int]]:
    sources = {layer.name for layer in before.layers}
    targets = {layer.name for layer in after.layers}
    return [(s.tensor, s.bytes) for s in placement.switches if s.source in sources and s.to in targets]
