"""Timelines: spans by device, valid SVG, Trace Events."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dlaflow.parse.nsys import HardwareTask
from dlaflow.profile.capture import summarise_capture
from dlaflow.report.timeline import COLOURS, spans_of, strip_svg, timeline_of, trace_json
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
    named = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    (first, *_) = [event for event in complete if event["cat"] == "dla" and named[event["tid"]] == "DLA"]
    assert (first["ts"], first["dur"]) == (3000.0, 5000.0)
    assert sum(event["cat"] == "inference" for event in complete) == 3
    (task,) = [event for event in complete if event["name"] == "DLA0"]
    assert (task["ts"], task["dur"]) == (4000.0, 3000.0)


def test_the_real_capture_is_drawn_as_long_as_it_is_on_the_stream() -> None:
    """The host handed this inference over 21.5 ms before: with that it was drawn 44 ms long."""
    folder = Path(os.environ.get("DLAFLOW_EVIDENCE", Path(__file__).parents[3] / "shared" / "evidence"))
    path = folder / "artefacts" / "open" / "nsys_2023.4.4_orin_dla0_trt8.5.2_enq1-6.sqlite"
    if not path.is_file():
        pytest.skip(f"no evidence folder at {folder}")
    found = summarise_capture(path)
    assert found.span_ms is not None
    line = timeline_of(spans_of(found.sample[found.first_warm]))
    assert line is not None
    assert line.milliseconds == pytest.approx(found.span_ms.mean, rel=0.01)
    assert [track for track, _ in line.tracks] == ["DLA", "GPU"]
    assert next(len(bars) for _, bars in line.tracks) == 6
