"""Accuracy against latency: points with intervals, and the front of those that no other beats in both."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.units import percent
from dlaflow.report.verdict import number
from dlaflow.types import Measurement, Provenance

_AS_BUILT = "DLA with fallback"
"""The subject of `dlaflow.estimate`'s latency for the model as it is; its others are what-ifs."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 960.0, 16.0, 216.0
_LETTER, _LINE = 7.6, 15.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, in the drawing's units."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """One variant with its intervals and the place of its name, in the drawing's units."""

    name: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    label_x: float = 0.0
    label_y: float = 0.0


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
    as_built = [m for m in found if m.provenance is Provenance.MEASURED or m.subject == _AS_BUILT]
    return min(as_built, key=lambda m: m.provenance is not Provenance.MEASURED, default=None)


def tradeoff_of(run: RunRecord) -> Tradeoff | None:
    """The drawing of a run, when at least two variants have an accuracy and a latency in one unit; else None."""
    pairs = [
        (variant.name, time, top1)
        for variant in run.variants
        if (time := latency_of(variant))
        and (top1 := number(variant, "top1", "int8") or number(variant, "top1", "fp32"))
    ]
    if len(pairs) < 2 or len({time.unit for _, time, _ in pairs}) > 1:
        return None
    slowest = max(time.value + (time.spread or 0) for _, time, _ in pairs) * 1.1 or 1.0
    low = max(min(top1.value - (top1.spread or 0) for _, _, top1 in pairs) - 0.02, 0.0)
    high = min(max(top1.value + (top1.spread or 0) for _, _, top1 in pairs) + 0.02, 1.0)

    def across(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * max(value, 0.0) / slowest, 1)

    def up(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low), 1)

    points = [
        Point(
            name,
            across(time.value),
            across(time.value - (time.spread or 0)),
            across(time.value + (time.spread or 0)),
            up(top1.value),
            up(top1.value - (top1.spread or 0)),
            up(top1.value + (top1.spread or 0)),
        )
        for name, time, top1 in pairs
    ]
    unit = pairs[0][1].unit
    said = [f"{name}: {time.value:.3g} {unit}, {percent(top1.value)}" for name, time, top1 in pairs]
    return Tradeoff(
        _labelled(points),
        " ".join(f"{point.x},{point.y}" for point in _front(points)),
        [Tick(across(slowest * part / 4), f"{slowest * part / 4:.2g}") for part in range(5)],
        [Tick(up(low + (high - low) * part / 4), percent(low + (high - low) * part / 4, 0)) for part in range(5)],
        unit,
        "; ".join(said),
    )


def _labelled(points: list[Point]) -> list[Point]:
    """Put each name beside its point, above or below, where no earlier name stands."""
    taken: list[tuple[float, float, float]] = []
    placed = []
    for point in points:
        wide = _LETTER * len(point.name)
        left = point.x + 9 if point.x + 9 + wide < _RIGHT + 40 else point.x - 9 - wide
        low = point.y
        for step in (-8.0, 18.0, -8.0 - _LINE, 18.0 + _LINE, -8.0 - 2 * _LINE, 18.0 + 2 * _LINE):
            low = point.y + step
            if all(left > end or left + wide < start or abs(low - other) >= _LINE for start, end, other in taken):
                break
        taken.append((left, left + wide, low))
        placed.append(replace(point, label_x=round(left, 1), label_y=round(low, 1)))
    return placed


def _front(points: list[Point]) -> list[Point]:
    """From fast to slow, each point that is more accurate (higher up) than every faster one."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, point.y)):
        if not front or point.y < front[-1].y:
            front.append(point)
    return front
