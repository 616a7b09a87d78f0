"""Accuracy against latency: points with intervals, and the front of those that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dlaflow.report.interval import ends
from dlaflow.report.records import Variant
from dlaflow.report.units import nice_step, percent
from dlaflow.report.verdict import number
from dlaflow.types import Measurement, Provenance

AS_BUILT = "DLA with fallback"
"""The subject of `dlaflow.estimate`'s latency for the model as it is; its others are what-ifs."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 960.0, 16.0, 216.0
_LETTER, _LINE = 7.6, 15.0
_MOST_NAMES = 8
"""Of more points only those on the front are labelled; the names of the others appear under the pointer."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, in the drawing's units."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """One variant with its intervals and the place of its label (empty: none), in the drawing's units."""

    name: str
    label: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    label_x: float = 0.0
    label_y: float = 0.0
    best: bool = False
    """Whether no other variant is both faster and more accurate."""


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """The drawing. `front` are the points of the Pareto front as SVG polyline coordinates."""

    points: list[Point]
    front: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    unit: str
    text: str


def latency_of(variant: Variant) -> Measurement | None:
    """The variant's latency as it is built: measured before estimated, never that of a what-if."""
    found = [m for m in variant.measurements if m.quantity == "latency"]
    as_built = [m for m in found if m.provenance is Provenance.MEASURED or m.subject == AS_BUILT]
    return min(as_built, key=lambda m: m.provenance is not Provenance.MEASURED, default=None)


def accuracy_of(variant: Variant) -> Measurement | None:
    """The variant's top-1 in the precision that its placement is for; else in the lowest that was measured."""
    own = (variant.placement.target.precision,) if variant.placement else ()
    found = (number(variant, "top1", precision) for precision in (*own, "int8", "fp16", "fp32"))
    return next((top1 for top1 in found if top1), None)


def front_of(variants: Iterable[Variant]) -> list[Variant]:
    """From fast to slow, each variant that is more accurate than every faster one (and than those as fast)."""
    front: list[Variant] = []
    best = -1.0
    for variant, _, top1 in sorted(_pairs(variants), key=lambda pair: (pair[1].value, -pair[2].value)):
        if top1.value > best:
            front.append(variant)
            best = top1.value
    return front


def _pairs(variants: Iterable[Variant]) -> list[tuple[Variant, Measurement, Measurement]]:
    """The variants with a latency and an accuracy."""
    found = ((variant, latency_of(variant), accuracy_of(variant)) for variant in variants)
    return [(variant, time, top1) for variant, time, top1 in found if time and top1]


def tradeoff_of(variants: Sequence[Variant]) -> Tradeoff | None:
    """The drawing of the variants, when at least two variants have an accuracy and a latency in one unit; else None."""
    pairs = _pairs(variants)
    if len(pairs) < 2 or len({time.unit for _, time, _ in pairs}) > 1:
        return None
    front = [variant.name for variant in front_of(variants)]
    slowest = max(ends(time)[1] for _, time, _ in pairs) * 1.1 or 1.0
    low = max(min(ends(top1)[0] for _, _, top1 in pairs) - 0.02, 0.0)
    high = min(max(ends(top1)[1] for _, _, top1 in pairs) + 0.02, 1.0)
    step = nice_step(high - low, 5)
    low, high = math.floor(low / step) * step, min(math.ceil(high / step) * step, 1.0)

    def across(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * max(value, 0.0) / slowest, 1)

    def up(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low), 1)

    points = [
        Point(
            variant.name,
            variant.name if len(pairs) <= _MOST_NAMES or variant.name in front else "",
            across(time.value),
            across(ends(time)[0]),
            across(ends(time)[1]),
            up(top1.value),
            up(ends(top1)[0]),
            up(ends(top1)[1]),
            best=variant.name in front,
        )
        for variant, time, top1 in pairs
    ]
    unit = pairs[0][1].unit
    texts = [f"{variant.name}: {time.value:.3g} {unit}, {percent(top1.value)}" for variant, time, top1 in pairs]
    return Tradeoff(
        _labelled(points),
        " ".join(f"{point.x},{point.y}" for name in front for point in points if point.name == name),
        [Tick(across(at), f"{at:.6g}") for at in _multiples(0.0, slowest, nice_step(slowest, 8))],
        [Tick(up(at), f"{at * 100:.4g}%") for at in _multiples(low, high, step)],
        unit,
        "; ".join([*texts, f"on the Pareto front: {', '.join(front)}"]),
    )


def _multiples(low: float, high: float, step: float) -> list[float]:
    """The multiples of a step within a range, its ends included."""
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _labelled(points: list[Point]) -> list[Point]:
    """Put each name beside its point, above or below, where no earlier name stands."""
    taken: list[tuple[float, float, float]] = []
    placed = []
    for point in points:
        if not point.label:
            placed.append(point)
            continue
        wide = _LETTER * len(point.label)
        left = point.x + 9 if point.x + 9 + wide < _RIGHT + 40 else point.x - 9 - wide
        low = point.y
        for step in (-8.0, 18.0, -8.0 - _LINE, 18.0 + _LINE, -8.0 - 2 * _LINE, 18.0 + 2 * _LINE):
            low = point.y + step
            if all(left > end or left + wide < start or abs(low - other) >= _LINE for start, end, other in taken):
                break
        taken.append((left, left + wide, low))
        placed.append(replace(point, label_x=round(left, 1), label_y=round(low, 1)))
    return placed
