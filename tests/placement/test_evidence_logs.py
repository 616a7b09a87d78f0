"""Whole logs and a capture: every loadable with its ends, every named node on its device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from graphs.catalogue import LOGS, Case

from dlaflow.observed.score import Score
from dlaflow.types import Placement

Scored = Callable[[Case], tuple[Score, Placement]]


@pytest.mark.parametrize("case", LOGS, ids=lambda case: case.record)
def test_nothing_differs(case: Case, scored: Scored) -> None:
    result, _ = scored(case)
    assert result.disagreements == ()
    assert result.named_share == result.layer_share == result.mac_share == 1.0
    assert [match for match in result.loadables if match.predicted is None] == []
    assert result.loadables_real == result.loadables_predicted == len(result.loadables)


@pytest.mark.parametrize(
    ("record", "loadables", "named", "layers"),
    [
        ("trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log", 6, 24, 320),
        ("profile_7.1_xavier_googlenet_dla_mark_at_-1.json", 1, 2, 140),
        ("nsys_2023.4.4_orin_dla0_trt8.5.2_enq1-6.sqlite", 6, 24, 320),
        ("trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log", 2, 122, 121),
    ],
)
def test_the_logs_say_enough(record: str, loadables: int, named: int, layers: int, scored: Scored) -> None:
    """A score over nothing would be perfect too."""
    case = next(each for each in LOGS if each.record == record)
    result, _ = scored(case)
    assert result.loadables_real == loadables
    assert result.named >= named
    assert result.layers >= layers


def test_another_board_scores_worse(scored: Scored) -> None:
    """The Xavier log against a prediction for Orin: SoftMax is said to be on the DLA, and the score tells."""
    case = LOGS[0]
    elsewhere = Case(case.record, case.graph, case.draw, "agx-orin-64gb", case.tensorrt, case.precision)
    result, _ = scored(elsewhere)
    assert "/model.10/m/m.0/attn/Softmax" in {each.layer for each in result.disagreements}
    assert result.named_share < 1.0
    assert any(match.predicted is None for match in result.loadables)
