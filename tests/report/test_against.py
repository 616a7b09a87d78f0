"""Predicted against measured, and the timeline: what the page is told, and what it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlaflow.report.against import against_of
from dlaflow.report.html import render
from dlaflow.report.json import read_run, run_json
from dlaflow.report.records import RunRecord, Span, Variant
from dlaflow.report.timeline import timeline_of
from dlaflow.report.units import nice_step
from dlaflow.types import Measurement


@pytest.fixture
def measured(measured_run: RunRecord) -> Variant:
    return measured_run.variants[0]


def test_both_sides(measured: Variant) -> None:
    both = against_of(measured)
    assert both is not None
    assert [(each.layer, each.predicted.value, each.measured.value, each.why) for each in both.elsewhere] == [
        ("/cnn/cnn.2/Relu", "DLA", "GPU", "no <i>room</i>")
    ]
    assert measured.placement is not None
    assert both.compared == len(measured.placement.layers) - 1
    assert both.agreeing == both.compared - 1
    assert [(side.name, side.predicted, side.measured, side.same) for side in both.sides] == [
        ("Loadables", "2", "3", False),
        ("Switches", "2", "5", False),
        ("Latency", "0.7 ± 0.2 ms (estimated)", "1.5 ms", False),
    ]
    assert against_of(replace(measured, measured=None)) is None


def test_a_capture_has_the_time_on_its_stream(measured: Variant) -> None:
    numbers = [measured.measurements[0], Measurement("stream time", "x", 0.8, "ms", 4)]
    both = against_of(replace(measured, measurements=numbers))
    assert both is not None
    assert both.sides[-1].name == "Stream time"
    assert both.sides[-1].same


def test_what_is_written_is_read_back(tmp_path, walkthrough: RunRecord, measured: Variant) -> None:
    run = replace(walkthrough, variants=[measured])
    (tmp_path / "run.json").write_bytes(run_json(run))
    assert read_run(tmp_path / "run.json") == run


def test_timeline(measured: Variant) -> None:
    line = timeline_of(measured.timeline)
    assert line is not None
    assert [track for track, _ in line.tracks] == ["DLA", "GPU", "host"]
    ((_, (bar,)), *_) = line.tracks
    assert (bar.left, bar.width) == pytest.approx((20.0, 80.0))
    assert line.ticks[:2] == [(0.0, "0"), (20.0, "2")]
    assert timeline_of([]) is None
    instant = timeline_of([Span("GPU", "gpu", "x", 5, 5)])
    assert instant is not None
    assert instant.tracks[0][1][0].width > 0


@pytest.mark.parametrize(
    ("span", "most", "step"), [(10, 8, 2), (0.9, 8, 0.2), (47, 8, 10), (1, 10, 0.1), (3e-6, 8, 5e-7)]
)
def test_nice_steps(span: float, most: int, step: float) -> None:
    assert nice_step(span, most) == pytest.approx(step)
    assert span / nice_step(span, most) <= most + 1e-9


def test_the_page(walkthrough: RunRecord, measured: Variant) -> None:
    page = render(replace(walkthrough, variants=[measured]))
    assert "Predicted against measured" in page
    assert "no &lt;i&gt;room&lt;/i&gt;" in page
    assert "Timeline of one inference, measured" in page
    assert "Reformatting &lt;b&gt;" in page
    assert "Predicted against measured" not in render(walkthrough)


def test_a_profile_without_its_model(measured: Variant) -> None:
    alone = replace(measured, placement=None, measured=None, edges=[])
    page = render(RunRecord("capture", "2026-01-31T12:00:00Z", variants=[alone]))
    assert "model_bn was measured; nothing was predicted of it." in page
    assert "Timeline of one inference, measured" in page
