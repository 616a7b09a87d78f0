"""The placement strip: the layers in execution order as cells, their runs on one device, and the switches between runs.

Layers that fold away before run time are left out. Positions are shares of the strip's width (0..1), one cell a layer.
The strips of a run also come as one picture, for a README or a slide: a plain SVG that follows light or dark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby, pairwise
from xml.sax.saxutils import escape

from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.units import count
from dlaflow.types import Device, PlacedLayer, Placement

_WIDTH, _ROW, _MARGIN = 920.0, 92.0, 10.0
_TALL = {Device.DLA: (36.0, 40.0), Device.GPU: (43.0, 26.0)}
"""Device → top and height of its runs within a row."""
_STYLE = """
text { font: 600 15px ui-sans-serif, system-ui, "Segoe UI", Roboto, sans-serif; fill: #171b13 }
.soft { font-weight: 400; fill: #5a6353 } .end { text-anchor: end }
.dla { fill: #6aa716 } .gpu { fill: #9aa2a8 } .switch { fill: #d92d3a }
@media (prefers-color-scheme: dark) {
  text { fill: #eef1ea } .soft { fill: #a3ad9a } .dla { fill: #83c52b } .gpu { fill: #69727a } .switch { fill: #ff6b73 }
}
"""
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 does not allow, escaped or not."""
_LONGEST = 60


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


def strips_svg(run: RunRecord) -> str:
    """One row a checked variant: its name, its loadables and switches, and the strip."""
    rows = [(variant, variant.placement) for variant in run.variants if variant.placement]
    height = _ROW * len(rows) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" role="img">',
        f"<title>{_text(run.name)}: what runs on the DLA (green) and on the GPU (grey), and the switches (red)</title>",
        f"<style>{_STYLE}</style>",
        *(line for at, (variant, placement) in enumerate(rows) for line in _row(variant, placement, at * _ROW)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(variant: Variant, placement: Placement, top: float) -> list[str]:
    summary, strip = placement.summary, strip_of(placement)
    summed = f"{count(summary.loadables, 'loadable')}, {count(summary.switches, 'switch')}"
    right = _WIDTH - _MARGIN
    note = f'<tspan class="soft">{_text(variant.note)}</tspan>'
    lines = [
        f'<text x="{_MARGIN:g}" y="{top + 26:g}">{_text(variant.name)} {note}</text>',
        f'<text class="end" x="{right:g}" y="{top + 26:g}">{summed}</text>',
    ]
    cell = (right - _MARGIN) / max(strip.cells, 1)
    for run in strip.runs:
        y, tall = _TALL[run.device]
        x, wide = _MARGIN + run.start * cell, max(len(run.layers) * cell - 3, 1)
        shape = f'x="{x:.1f}" y="{top + y:g}" width="{wide:.1f}" height="{tall:g}" rx="5"'
        lines.append(f'<rect class="{run.device.value.lower()}" {shape}/>')
    for crossing in strip.crossings:
        x = _MARGIN + crossing.place * cell - 4
        lines.append(f'<rect class="switch" x="{x:.1f}" y="{top + 30:g}" width="5" height="52" rx="2.5"/>')
    return lines


def _text(text: str) -> str:
    clean = _FORBIDDEN.sub("\ufffd", text)
    return escape(clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…")
