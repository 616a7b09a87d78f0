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
    assert [(each.layer, each.predicted, each.measured, each.mark, each.why) for each in both.differing] == [
        ("/cnn/cnn.2/Relu", "DLA 0", "GPU", "differs", "no <i>room</i>")
    ]
    assert measured.placement is not None
    assert both.compared == len(measured.placement.layers) - 1
    assert both.agreeing == both.compared - 1
    assert (both.layers[-1].measured, both.untold) == ("not told", 1)
    assert [(side.name, side.predicted, side.measured, side.mark) for side in both.sides] == [
        ("Loadables", "2", "3", "differs"),
        ("Switches", "2", "5", "differs"),
        ("Latency", "0.7 (0.5 to 0.9) ms (estimated)", "1.5 ms", "differs"),
    ]
    assert against_of(replace(measured, measured=None)) is None


def test_a_capture_has_the_time_on_its_stream(measured: Variant) -> None:
    numbers = [measured.measurements[0], Measurement("stream time", "x", 0.8, "ms", 4)]
    both = against_of(replace(measured, measurements=numbers))
    assert both is not None
    assert both.sides[-1].name == "Stream time"
    assert both.sides[-1].mark == "agrees"


def test_an_estimate_without_a_measured_time_is_not_told(measured: Variant) -> None:
    both = against_of(replace(measured, measurements=measured.measurements[:1]))
    assert both is not None
    assert (both.sides[-1].name, both.sides[-1].mark) == ("Latency", "not told")


def test_a_layer_in_another_loadable_is_regrouped(measured: Variant) -> None:
    """Loadables are matched by what they hold, so that a number more before them is no difference."""
    ours = measured.placement
    assert ours is not None
    on_dla = [layer for layer in ours.layers if layer.loadable == 0]
    moved = [
        replace(layer, loadable=layer.loadable + 1) if layer.loadable is not None else layer for layer in ours.layers
    ]
    assert against_of(replace(measured, measured=replace(ours, layers=moved))).differing == []  # type: ignore[union-attr]
    alone = [replace(layer, loadable=7) if layer.name == on_dla[-1].name else layer for layer in moved]
    both = against_of(replace(measured, measured=replace(ours, layers=alone)))
    assert both is not None
    assert [(each.layer, each.mark) for each in both.differing] == [(on_dla[-1].name, "regrouped")]
    assert both.agreeing == both.compared


def test_what_is_written_is_read_back(tmp_path, walkthrough: RunRecord, measured: Variant) -> None:
    run = replace(walkthrough, variants=[measured])
    (tmp_path / "run.json").write_bytes(run_json(run))
    assert read_run(tmp_path / "run.json") == run


def test_timeline(measured: Variant) -> None:
    line = timeline_of(measured.timeline)
    assert line is not None
    assert [track for track, _ in line.tracks] == ["DLA", "GPU"]
    ((_, (bar,)), *_) = line.tracks
    assert (bar.left, bar.width) == pytest.approx((100 / 9, 800 / 9))
    assert line.milliseconds == 9.0, "the host handed over before: it does not stretch the picture"
    assert line.notes == [
        "The host handed its layers over in 0.2 ms, from 1 ms before the inference began on the stream."
    ]
    assert [label for _, label in line.ticks] == ["0", "2", "4", "6", "8"]
    assert timeline_of([]) is None
    late = timeline_of([*measured.timeline, Span("host", "gpu", "b", 1_500_000, 2_500_000)])
    assert late is not None
    assert next(bar for track, bars in late.tracks if track == "host" for bar in bars).left == 0.0
    assert late.milliseconds == 9.0
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
