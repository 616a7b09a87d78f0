"""The front is of trials for one target; what failed or has no latency is not on it."""

from __future__ import annotations

import json

from dlaflow.report.records import Variant
from dlaflow.sweep.records import Outcome, SweepRecord, TrialRecord, sweep_json, sweep_page, with_fronts
from dlaflow.types import Measurement, ModelInfo, Placement, Provenance, Summary, TargetInfo

SUMMARY = Summary(1, 1, 0, 0, 0, 1.0, 1, 1, 0, True)


def trial(
    name: str, top1: float, latency: float | None, board: str = "agx-orin-64gb", precision: str = "int8"
) -> TrialRecord:
    target = TargetInfo(board, "5.1.1", "8.5.2", "v2", precision, 4, "hybrid")
    numbers = [
        Measurement("top1", "fp32", 0.99, "", 100, 0.01),
        Measurement("top1", precision, top1, "", 100, 0.01),
    ]
    if latency is not None:
        numbers.append(
            Measurement("latency", "DLA with fallback", latency, "ms", 0, 0.1, provenance=Provenance.ESTIMATED)
        )
    placement = Placement(ModelInfo("m.onnx", "00", {}), target, SUMMARY, [], [], [])
    return TrialRecord(
        name, f"trials/{name}", {"width": name}, Outcome("done"), variant=Variant(name, "", placement, numbers)
    )


TRIALS = [
    trial("slow", 0.90, 3.0),
    trial("fast", 0.70, 1.0),
    trial("worse", 0.69, 2.0),
    trial("same", 0.70, 1.5),
    trial("half", 0.80, 2.5, precision="fp16"),
    trial("silent", 0.95, None),
    trial("other", 0.10, 9.0, board="orin-nx-16gb"),
    TrialRecord("broken", "trials/broken", {}, Outcome("failed", "it <broke>")),
]


def test_the_front_holds_what_nothing_beats_on_its_target() -> None:
    assert {each.name for each in with_fronts(TRIALS) if each.front} == {"slow", "fast", "half", "other"}


def test_report_and_json() -> None:
    record = SweepRecord("s", "2026-01-01T00:00:00Z", "grid", trials=with_fronts(TRIALS))
    first, second = record.by_target().values()
    assert [each.name for each in first] == ["fast", "half", "slow", "silent", "same", "worse"]
    assert [each.name for each in second] == ["other"]
    assert record.headline == "4 of 7 trials are on the front: from 70.0% in 1 ms to 90.0% in 3 ms, 1 failure."
    page = sweep_page(record)
    assert 'href="trials/half/report.html"' in page
    assert "it &lt;broke&gt;" in page
    assert page.count("<polyline") == 1, "one trial alone is no drawing"
    body = json.loads(sweep_json(record))
    assert body["schema"] == "dlaflow.sweep/1"
    by_name = {each["name"]: each for each in body["trials"]}
    assert by_name["half"]["top1"]["subject"] == "fp16"
    assert by_name["broken"]["top1"] is None
    assert by_name["broken"]["status"] == "failed"
