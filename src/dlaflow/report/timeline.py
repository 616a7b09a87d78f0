"""A capture as pictures: an SVG strip of one inference, its timeline on the page, and Trace Events for ui.perfetto.dev.

DLA spans are the windows on the stream around each task (see `dlaflow.profile.iteration`), GPU spans the busy
time of what a layer launched. The colours are those of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from dlaflow.parse.nsys import Enqueue, HardwareTask, LayerRange
from dlaflow.profile.capture import CaptureSummary
from dlaflow.profile.iteration import REFORMAT, iteration_of
from dlaflow.report.records import Span
from dlaflow.report.trace import Slice, trace_events
from dlaflow.report.units import nice_step

COLOURS = {"dla": "#6aa716", "gpu": "#9aa2a8", "reformat": "#d92d3a", "copy": "#b7791f"}
"""Fill by kind of span, as in the report."""

_TRACKS = ("DLA", "GPU", "host")
LEFT, ROW = 48.0, 26.0
_WIDTH, _TOP = 1000.0, 6.0
_THIN = 0.08
"""Percent of the page's width that a span has at least: switches are short, and they are what the picture is about."""


def spans_of(enqueue: Enqueue) -> list[Span]:
    """The spans of one inference; a DLA window without an end is left out rather than guessed."""
    found = [
        Span("DLA", "dla", window.name, window.start, window.end)
        for window in iteration_of(enqueue).windows
        if window.end is not None
    ]
    for layer in enqueue.layers:
        found.append(Span("host", _kind(layer), layer.name, layer.start, layer.end))
        if layer.gpu_start is not None and layer.gpu_end is not None:
            found.append(Span("GPU", _kind(layer), layer.name, layer.gpu_start, layer.gpu_end))
    return sorted(found, key=lambda span: (span.start, span.end))


def _kind(layer: LayerRange) -> str:
    if layer.device == "DLA":
        return "dla"
    if layer.name.startswith(REFORMAT):
        return "reformat"
    return "copy" if layer.name.endswith((" copy", "_copy_output")) else "gpu"


def trace_json(capture: CaptureSummary, tasks: Iterable[HardwareTask] = ()) -> bytes:
    """The kept inferences as Trace Events, one track a device.

    `tasks` are the accelerators' own (`dlaflow.parse.nsys`), on tracks of their own.
    """
    slices = []
    origin = capture.sample[0].start if capture.sample else 0
    for number, enqueue in enumerate(capture.sample):
        temper = "cold" if number < capture.first_warm else "warm"
        title = f"inference {number} ({temper})"
        slices.append(Slice("host", title, "inference", enqueue.start - origin, enqueue.end - origin))
        slices += [
            Slice(span.track, span.name, span.kind, span.start - origin, span.end - origin)
            for span in spans_of(enqueue)
        ]
    slices += [Slice("DLA tasks", task.engine, "dla", task.start - origin, task.end - origin) for task in tasks]
    told = {"exporter": capture.info.exporter, "l4t": capture.info.l4t, "gpu": capture.info.gpu}
    return trace_events("dlaflow", (*_TRACKS, "DLA tasks"), slices, told)


def strip_svg(capture: CaptureSummary, number: int | None = None) -> str:
    """One inference as an SVG strip: a DLA row over a GPU row, time from left to right.

    `number` is its place in `capture.sample`; by default the first warm one. An empty string when there is none.
    """
    place = capture.first_warm if number is None else number
    if not 0 <= place < len(capture.sample):
        return ""
    spans = [span for span in spans_of(capture.sample[place]) if span.track != "host"]
    if not spans:
        return ""
    start, length = _extent(spans)

    def boxes(track: str, top: float, scale: float) -> list[str]:
        return [_box(span, top, start, scale / 1e6) for span in spans if span.track == track]

    return rows_svg(f"One inference of {length / 1e6:.3g} ms on DLA and GPU", ("DLA", "GPU"), length / 1e6, boxes)


def rows_svg(
    label: str, rows: Sequence[str], length_ms: float, boxes: Callable[[str, float, float], Sequence[str]]
) -> str:
    """A picture over time, a row a name; `boxes(row, top, scale)` are drawn in it, `scale` in units a millisecond."""
    bottom = _TOP + len(rows) * (ROW + 4)
    scale = (_WIDTH - LEFT - 8) / length_ms
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {bottom + 22:g}" role="img" '
        f'aria-label="{escape(label)}" font-family="sans-serif" font-size="11">'
    ]
    for place, row in enumerate(rows):
        top = _TOP + place * (ROW + 4)
        parts.append(f'<text x="4" y="{top + 17:g}" fill="currentColor">{row}</text>')
        parts.append(
            f'<rect x="{LEFT:g}" y="{top:g}" width="{_WIDTH - LEFT - 8:g}" height="{ROW:g}" fill="#000" '
            'fill-opacity="0.05"/>'
        )
        parts += boxes(row, top, scale)
    return "\n".join([*parts, *_axis(bottom, length_ms, scale), "</svg>"])


def _box(span: Span, top: float, start: int, scale: float) -> str:
    left = LEFT + (span.start - start) * scale
    # Half a unit at least: what is short must still be seen, since switches are what the picture is about.
    width = max((span.end - span.start) * scale, 0.5)
    tip = escape(f"{span.name}: {(span.end - span.start) / 1e6:.3g} ms ({span.kind})")
    return (
        f'<rect x="{left:.2f}" y="{top:g}" width="{width:.2f}" height="{ROW:g}" fill="{COLOURS[span.kind]}">'
        f"<title>{tip}</title></rect>"
    )


def _axis(top: float, length_ms: float, scale: float) -> list[str]:
    """Round ticks in milliseconds, five to ten of them."""
    found = []
    for tick in _ticks(round(length_ms * 1e6), 10):
        left = LEFT + tick * scale
        found.append(f'<path d="M{left:.2f} {top:g}v5" stroke="currentColor"/>')
        label = f"{tick:.6g}" if tick else "0 ms"
        found.append(f'<text x="{left:.2f}" y="{top + 17:g}" fill="currentColor" text-anchor="middle">{label}</text>')
    return found


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
    """One inference on the page, positions as percents of its length.

    The tracks with their bars, the ticks as (percent, label), the length in milliseconds, and what to know of it.
    """

    tracks: list[tuple[str, list[Bar]]]
    ticks: list[tuple[float, str]]
    milliseconds: float
    notes: list[str]


def timeline_of(spans: Sequence[Span]) -> Timeline | None:
    """Lay out the spans of one inference for the page; None without any.

    It is as long as its work on the stream. The host hands over ahead of that, often while the inference before it
    runs: what it does outside is told in words.
    """
    if not spans:
        return None
    start, length = _extent([span for span in spans if span.track != "host"] or spans)
    inside = [each for each in spans if each.track != "host" or (start < each.end and each.start < start + length)]

    def bar(span: Span) -> Bar:
        taken = (span.end - span.start) / 1e6
        at, end = max(span.start - start, 0), min(span.end - start, length)
        wide = max(100 * (end - at) / length, _THIN)
        text = f"{taken:.3g} ms, from {(span.start - start) / 1e6:.3g} ms"
        return Bar(span.name, span.kind, text, min(100 * at / length, 100 - _THIN), wide)

    tracks = [name for name in _TRACKS if any(span.track == name for span in inside)]
    rows = [(name, [bar(span) for span in inside if span.track == name]) for name in tracks]
    total = length / 1e6
    ticks = [(100 * tick / total, f"{tick:.6g}") for tick in _ticks(length, 8)]
    return Timeline(rows, ticks, total, _of_host(spans, start))


def _of_host(spans: Sequence[Span], start: int) -> list[str]:
    """When the host handed the layers over, where that began before the picture does."""
    host = [span for span in spans if span.track == "host"]
    if not host or len(host) == len(spans):
        return []
    begun, taken = _extent(host)
    if begun >= start:
        return []
    return [
        f"The host handed its layers over in {taken / 1e6:.3g} ms, from {(start - begun) / 1e6:.3g} ms before the "
        "inference began on the stream."
    ]


def _extent(spans: Sequence[Span]) -> tuple[int, int]:
    """When the first span starts, and how long it is until the last one ends (ns, 1 at least)."""
    start = min(span.start for span in spans)
    return start, max(max(span.end for span in spans) - start, 1)


def _ticks(length: int, most: int) -> list[float]:
    """Round numbers of milliseconds from 0 to a length in nanoseconds."""
    step = nice_step(length / 1e6, most)
    return [number * step for number in range(int(length / 1e6 / step) + 1)]
