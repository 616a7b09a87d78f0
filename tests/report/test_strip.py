"""The strip: cells in execution order, runs by device and loadable, switches between devices only."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.report.records import RunRecord
from dlaflow.report.strip import strip_of
from dlaflow.types import Device, ModelInfo, PlacedLayer, Placement, Summary, TargetInfo, Verdict


def test_the_walkthrough(walkthrough: RunRecord) -> None:
    first, second, third = (strip_of(variant.placement) for variant in walkthrough.variants if variant.placement)
    assert [run.loadable for run in first.runs if run.device is Device.DLA] == [0, 1, 2, 3, 4, 5]
    assert len(first.crossings) == 10
    assert [run.device.value for run in second.runs] == ["DLA", "GPU", "DLA"]
    assert [crossing.place for crossing in second.crossings] == [8, 10]
    assert second.crossings[0].tensors == [("/cnn/cnn.11/Relu_output", 65536)]
    assert len(third.runs) == 1
    assert third.crossings == []


def test_folded_layers_take_no_room(walkthrough: RunRecord) -> None:
    placement = walkthrough.variants[1].placement
    assert placement is not None
    folded = PlacedLayer("constant", "CONSTANT", [], Device.FOLDED, Verdict.NATIVE, None, 0, 4)
    with_folded = replace(placement, layers=[folded, *placement.layers[:3], folded, *placement.layers[3:]])
    assert strip_of(with_folded) == strip_of(placement)


ROWS = st.lists(st.tuples(st.sampled_from(Device), st.integers(0, 2)), max_size=40)


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_runs_tile_the_strip(rows: list[tuple[Device, int]]) -> None:
    layers = [
        PlacedLayer(str(at), "K", [], device, Verdict.NATIVE, loadable if device is Device.DLA else None, 1, 1)
        for at, (device, loadable) in enumerate(rows)
    ]
    target = TargetInfo("b", "j", "8.5.2", "v2", "int8", 1, "hybrid")
    summary = Summary(0, 0, 0, 0, 0, 0.0, 0, 0, 0, False)
    strip = strip_of(Placement(ModelInfo("m", "", {}), target, summary, layers, [], []))
    assert strip.cells == sum(device is not Device.FOLDED for device, _ in rows)
    place = 0
    for run in strip.runs:
        assert run.start == place
        assert run.layers
        place += len(run.layers)
    assert place == strip.cells
    assert all(crossing.source is not crossing.to for crossing in strip.crossings)
