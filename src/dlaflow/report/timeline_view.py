"""One inference in time, for the page: tracks from top to bottom, positions as percents of its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlaflow.report.records import Span
from dlaflow.report.units import nice_step

_ORDER = ("DLA", "GPU", "host")
_THIN = 0.08
"""Percent of the width that a span has at least: switches are short, and they are what the picture is about."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A span on the page."""

    name: str
    kind: str
    text: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """The tracks with their bars, the ticks as (percent, label), and the length in milliseconds."""

    tracks: list[tuple[str, list[Bar]]]
    ticks: list[tuple[float, str]]
    milliseconds: float


def timeline_of(spans: Sequence[Span]) -> Timeline | None:
    """Lay out the spans of one inference; None without any."""
    if not spans:
        return None
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    length = max(end - start, 1)

    def bar(span: Span) -> Bar:
        taken = (span.end - span.start) / 1e6
        left = 100 * (span.start - start) / length
        wide = max(100 * (span.end - span.start) / length, _THIN)
        return Bar(span.name, span.kind, f"{taken:.3g} ms, from {(span.start - start) / 1e6:.3g} ms", left, wide)

    tracks = [name for name in _ORDER if any(span.track == name for span in spans)]
    rows = [(name, [bar(span) for span in spans if span.track == name]) for name in tracks]
    total = length / 1e6
    step = nice_step(total, 8)
    ticks = [(100 * number * step / total, f"{number * step:.6g}") for number in range(int(total / step) + 1)]
    return Timeline(rows, ticks, total)
