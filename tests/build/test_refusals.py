"""TensorRT's own answers on the DLA against a prediction."""

from __future__ import annotations

import pytest

from dlaflow.build.refusals import Disagreement, LayerAnswer, score
from dlaflow.types import Device, ModelInfo, PlacedLayer, Placement, Summary, TargetInfo, Verdict


def placement(**layers):
    placed = [
        PlacedLayer(name, "CONVOLUTION", [name], device, verdict, None, 0, 0)
        for name, (device, verdict) in layers.items()
    ]
    summary = Summary(len(placed), 0, 0, 0, 0, 0.0, 0, 0, 0, False)
    target = TargetInfo("agx-orin-64gb", "6.2", "10.3.0", "v2", "int8", 1, "hybrid")
    return Placement(ModelInfo("m.onnx", "", {}), target, summary, placed, [], [])


def test_score():
    foretold = placement(
        right=(Device.DLA, Verdict.NATIVE),
        also_right=(Device.GPU, Verdict.FALLBACK),
        wrong=(Device.DLA, Verdict.NATIVE),
        unsaid=(Device.GPU, Verdict.UNKNOWN),
        folded=(Device.FOLDED, Verdict.NATIVE),
    )
    answers = tuple(
        LayerAnswer(name, "CONVOLUTION", runs)
        for name, runs in (
            ("right", True),
            ("also_right", False),
            ("wrong", False),
            ("unsaid", True),
            ("folded", False),
            ("nameless", True),
        )
    )
    agreement = score(answers, foretold)
    assert (agreement.agreed, agreement.unsaid, agreement.unmatched) == (2, 2, 1)
    assert agreement.disagreements == (Disagreement("wrong", predicted=True, actual=False),)
    assert agreement.share == pytest.approx(2 / 3)


def test_nothing_said_has_no_share():
    assert score((), placement()).share is None
