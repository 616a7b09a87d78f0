"""What is written is read back the same, and a wrong file is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.placement.switches import Edge
from dlaflow.report.json import (
    measurements_json,
    placement_json,
    read_measurements,
    read_placement,
    read_run,
    run_json,
    schema_of,
)
from dlaflow.report.records import RunRecord, Variant
from dlaflow.types import (
    Device,
    Finding,
    Loadable,
    Measurement,
    ModelInfo,
    PlacedLayer,
    Placement,
    Summary,
    Switch,
    TargetInfo,
    Verdict,
)


def example() -> Placement:
    finding = Finding("DLA200", "/gn", Verdict.FALLBACK, "no", "conv", "GroupNorm", "docs", "BatchNorm")
    return Placement(
        ModelInfo("m.onnx", "00", {"input": [1, 3, 32, 32]}),
        TargetInfo("agx-orin-64gb", "5.1.1", "8.5.2", "v2", "int8", 1, "hybrid"),
        Summary(2, 1, 1, 0, 0, 0.5, 1, 1, 1, False),
        [
            PlacedLayer("/conv", "CONVOLUTION", ["/conv"], Device.DLA, Verdict.NATIVE, 0, 10, 20),
            PlacedLayer("/gn", "NORMALIZATION", ["/gn"], Device.GPU, Verdict.FALLBACK, None, 10, 20, [finding]),
        ],
        [Loadable(0, "/conv", "/conv", ["/conv"], 10)],
        [Switch("/conv", "/gn", "t", 64)],
    )


def test_placement_round_trip_and_spelling(tmp_path: Path) -> None:
    path = tmp_path / "placement.json"
    path.write_bytes(placement_json(example()))
    body = json.loads(path.read_text())
    assert body["schema"] == schema_of(path) == "dlaflow.placement/1"
    assert body["switches"] == [{"from": "/conv", "to": "/gn", "tensor": "t", "bytes": 64}]
    assert body["layers"][0]["loadable"] == 0
    assert body["layers"][1]["loadable"] is None
    assert set(body["layers"][0]) >= {"name", "kind", "onnx_nodes", "device", "verdict", "macs", "bytes", "findings"}
    assert read_placement(path) == example()


def test_run_and_measurements_round_trip(tmp_path: Path) -> None:
    numbers = [Measurement("top1", "int8", 0.9, "", 100, 0.01)]
    variant = Variant("a", "note", example(), numbers, [Edge("/conv", "/gn", "t")])
    run = RunRecord("walk", "2026-01-01T00:00:00Z", "digits", ["loud"], ["python"], [variant, Variant("b")])
    (tmp_path / "run.json").write_bytes(run_json(run))
    (tmp_path / "n.json").write_bytes(measurements_json(numbers))
    assert read_run(tmp_path / "run.json") == run
    assert read_measurements(tmp_path / "n.json") == numbers


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": "dlaflow.run/1"}', '{"schema":"dlaflow.placement/1"}']
)
def test_wrong_files_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_placement(path)
    assert "\n" not in str(caught.value)
    assert "x.json" in str(caught.value)
