"""Timelines: spans by device, valid SVG, Trace Events."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from dlaflow.parse.nsys import HardwareTask
from dlaflow.report.timeline import COLOURS, spans_of, strip_svg, trace_json
from tests.report.made_profiles import MS, capture, capture_of, enqueue

SVG = "{http://www.w3.org/2000/svg}"


def test_spans_lie_on_their_tracks() -> None:
    spans = [span for span in spans_of(enqueue(0)) if span.track != "host"]
    assert [(span.track, span.kind, span.start // MS, span.end // MS) for span in spans] == [
        ("GPU", "reformat", 2, 3), ("DLA", "dla", 3, 8), ("GPU", "gpu", 8, 9), ("GPU", "copy", 9, 10),
    ]  # fmt: skip


def test_the_strip_is_well_formed_and_to_scale() -> None:
    root = ElementTree.fromstring(strip_svg(capture()))
    boxes = {rect.get("fill"): float(rect.get("width", "0")) for rect in root.iter(f"{SVG}rect")}
    assert set(COLOURS.values()) <= boxes.keys()
    assert abs(boxes[COLOURS["dla"]] / boxes[COLOURS["gpu"]] - 5) < 0.01
    tips = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any(tip.startswith('gemm <"&">: 1 ms') for tip in tips)
    ticks = [text.text for text in root.iter(f"{SVG}text")]
    assert "0 ms" in ticks
    assert 5 <= len(ticks) - 2 <= 11


def test_a_capture_without_inferences_has_no_strip() -> None:
    assert strip_svg(capture_of([])) == ""


def test_trace_events_are_complete_and_in_microseconds() -> None:
    body = json.loads(trace_json(capture(), [HardwareTask("DLA0", 4 * MS, 7 * MS)]))
    assert body["schema"] == "dlaflow.trace/1"
    events = body["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    assert all({"name", "cat", "pid", "tid", "ts", "dur"} <= event.keys() and event["dur"] >= 0 for event in complete)
    (first, *_) = [event for event in complete if event["cat"] == "dla" and event["tid"] == 0]
    assert (first["ts"], first["dur"]) == (3000.0, 5000.0)
    assert sum(event["cat"] == "inference" for event in complete) == 3
    (task,) = [event for event in complete if event["name"] == "DLA0"]
    assert (task["ts"], task["dur"]) == (4000.0, 3000.0)
