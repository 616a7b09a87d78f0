"""Spans as Trace Events, the JSON form that ui.perfetto.dev and chrome://tracing open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from dlaflow.version import __version__
from dlaflow.visible import visible

TRACE_SCHEMA = "dlaflow.trace/1"
_PROCESS, _FIRST_TRACK = 1, 10
"""Perfetto takes thread 0 for the idle one and the thread numbered as its process for the main one: no track may be."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Work on a track, in whole nanoseconds; slices of one track lie apart or inside each other."""

    track: str
    name: str
    kind: str
    start: int
    end: int


def trace_events(
    title: str, tracks: Sequence[str], slices: Iterable[Slice], other: Mapping[str, object] | None = None
) -> bytes:
    """The file: complete events in microseconds, one track (a thread of one process) for each name, in their order."""
    numbers = {track: _FIRST_TRACK + place for place, track in enumerate(tracks)}
    events: list[dict[str, object]] = [_meta("process_name", _FIRST_TRACK, {"name": visible(title)})]
    for track, number in numbers.items():
        events.append(_meta("thread_name", number, {"name": visible(track)}))
        events.append(_meta("thread_sort_index", number, {"sort_index": number}))
    events += [
        {
            "name": visible(each.name),
            "cat": each.kind,
            "ph": "X",
            "pid": _PROCESS,
            "tid": numbers[each.track],
            "ts": each.start / 1000,
            "dur": max(0, each.end - each.start) / 1000,
        }
        for each in slices
    ]
    body = {"schema": TRACE_SCHEMA, "dlaflow": __version__, "displayTimeUnit": "ms", "otherData": other or {}}
    return msgspec.json.encode({**body, "traceEvents": events})


def _meta(name: str, thread: int, values: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "ph": "M", "pid": _PROCESS, "tid": thread, "args": values}
