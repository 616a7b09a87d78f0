"""The strips of a run as one picture, for a README or a slide: a plain SVG that follows the reader's light or dark."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.strip import strip_of
from dlaflow.report.units import count
from dlaflow.types import Device

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


def strips_svg(run: RunRecord) -> str:
    """One row a checked variant: its name, its loadables and switches, and the strip."""
    rows = [variant for variant in run.variants if variant.placement]
    height = _ROW * len(rows) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" role="img">',
        f"<title>{_text(run.name)}: what runs on the DLA (green) and on the GPU (grey), and the switches (red)</title>",
        f"<style>{_STYLE}</style>",
        *(line for at, variant in enumerate(rows) for line in _row(variant, at * _ROW)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(variant: Variant, top: float) -> list[str]:
    if variant.placement is None:
        return []
    summary, strip = variant.placement.summary, strip_of(variant.placement)
    said = f"{count(summary.loadables, 'loadable')}, {count(summary.switches, 'switch')}"
    right = _WIDTH - _MARGIN
    note = f'<tspan class="soft">{_text(variant.note)}</tspan>'
    lines = [
        f'<text x="{_MARGIN:g}" y="{top + 26:g}">{_text(variant.name)} {note}</text>',
        f'<text class="end" x="{right:g}" y="{top + 26:g}">{said}</text>',
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
