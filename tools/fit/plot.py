"""Measured against estimated, held out by source: an SVG for the documentation and the same points as CSV.

Both axes are logarithmic, so that an interval has one length everywhere; a point on the line is a right estimate.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from html import escape
from io import StringIO
from math import exp, log10

from tools.fit.crossval import HeldOut
from tools.fit.points import Collection

_SIDE, _MARGIN = 640, 56
_FONT, _CENTRED = 'font-family="sans-serif" font-size="13"', 'text-anchor="middle"'
_LOW, _HIGH = 0.05, 100.0
"""The ends of both axes in ms."""
_TICKS = (0.1, 1, 10, 100)
_COLOURS = {"v2-int8": "#5b8f00", "v2-fp16": "#c2571a", "v1-int8": "#2b6cb0", "v1-fp16": "#7b4fb5"}
_NAMES = {"v2-int8": "Orin, INT8", "v2-fp16": "Orin, FP16", "v1-int8": "Xavier, INT8", "v1-fp16": "Xavier, FP16"}


def of_the_dla(held: Sequence[HeldOut]) -> list[HeldOut]:
    """The points that the plot shows: times on the DLA whose placement is known."""
    return [one for one in held if one.case.what == "dla" and one.case.use]


def plot(held: Sequence[HeldOut], collection: Collection) -> str:
    """The SVG: measured time to the right, estimated time with its 80% interval upwards; both in ms."""
    shown = of_the_dla(held)
    keys = [key for key in _COLOURS if any(one.case.key == key for one in shown)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE} {_SIDE}" {_FONT}>',
        "<title>Estimated against measured time, each point held out with its whole source</title>",
        f'<rect width="{_SIDE}" height="{_SIDE}" fill="#fff"/>',
        *_axes(),
        *(_point(one, collection) for one in shown),
        *(_legend(index, key) for index, key in enumerate(keys)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def table(held: Sequence[HeldOut], collection: Collection) -> str:
    """The same points as CSV, times in ms: what was measured, and what a fit without the source says."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("source", "model", "set", "mode", "cores", "sparse", "measured", "low", "estimated", "high"))
    for one in of_the_dla(held):
        case, (low, high) = one.case, _ends(one)
        times = (f"{value:.4g}" for value in (case.measured, low, one.predicted, high))
        where = (case.clocks.mode, case.conditions.cores, int(case.conditions.sparse))
        writer.writerow((case.source, collection.points[case.index].model, case.key, *where, *times))
    return text.getvalue()


def _ends(one: HeldOut) -> tuple[float, float]:
    return one.predicted * exp(-one.half_width), one.predicted * exp(one.half_width)


def _x(ms: float) -> float:
    inside = min(max(ms, _LOW), _HIGH)
    return _MARGIN + (_SIDE - 2 * _MARGIN) * (log10(inside) - log10(_LOW)) / (log10(_HIGH) - log10(_LOW))


def _y(ms: float) -> float:
    return _SIDE - _x(ms)


def _axes() -> list[str]:
    a, b = _x(_LOW), _x(_HIGH)
    lines = [f'<path d="M{a:.0f} {_SIDE - a:.0f}L{b:.0f} {_SIDE - b:.0f}" stroke="#999" stroke-dasharray="4 4"/>']
    for tick in _TICKS:
        at = _x(tick)
        lines += [
            f'<path d="M{at:.1f} {_SIDE - a:.0f}V{_SIDE - b:.0f}M{a:.0f} {_SIDE - at:.1f}H{b:.0f}" stroke="#e4e4e4"/>',
            f'<text x="{at:.1f}" y="{_SIDE - a + 18:.0f}" text-anchor="middle">{tick:g}</text>',
            f'<text x="{a - 6:.0f}" y="{_SIDE - at + 4:.1f}" text-anchor="end">{tick:g}</text>',
        ]
    middle = _SIDE / 2
    lines += [
        f'<text x="{middle:.0f}" y="{_SIDE - 10}" text-anchor="middle">measured, ms</text>',
        f'<text x="16" y="{middle:.0f}" {_CENTRED} transform="rotate(-90 16 {middle:.0f})">estimated, ms</text>',
    ]
    return lines


def _point(one: HeldOut, collection: Collection) -> str:
    """A dot with its interval, filled for networks; its title tells which."""
    case, (low, high) = one.case, _ends(one)
    x, colour = _x(case.measured), _COLOURS[case.key]
    model = escape(collection.points[case.index].model)
    told = f"{model}, {case.clocks.mode}: measured {case.measured:.3g}, estimated {one.predicted:.3g}"
    fill = colour if case.scope == "network" else "#fff"
    return (
        f'<g stroke="{colour}"><title>{told} ms</title><path d="M{x:.1f} {_y(low):.1f}V{_y(high):.1f}" opacity=".35"/>'
        f'<circle cx="{x:.1f}" cy="{_y(one.predicted):.1f}" r="3" fill="{fill}"/></g>'
    )


def _legend(index: int, key: str) -> str:
    y = _MARGIN + 16 + 20 * index
    return (
        f'<circle cx="{_MARGIN + 16}" cy="{y - 4}" r="4" fill="{_COLOURS[key]}"/>'
        f'<text x="{_MARGIN + 26}" y="{y}">{_NAMES[key]}</text>'
    )
