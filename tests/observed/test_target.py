"""What a log says of its target, and where that contradicts the target of a prediction."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.observed.target import contradictions, target_of
from dlaflow.parse.trtexec import parse_log
from dlaflow.types import TargetInfo

LOG = Path(__file__).parents[2] / "examples" / "samples" / "model_gn.log"
BUILT = {"board": "agx-orin-64gb", "jetpack": "5.1.1", "tensorrt": "8.5.2", "dla": "v2", "precision": "int8"}


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({}, []),
        ({"board": "orin-nx-8gb"}, []),  # a log names the chip, not the board
        ({"dla": "v1", "board": "xavier-nx-8gb"}, [("DLA", "v1", "v2")]),
        ({"tensorrt": "10.3.0.30"}, [("TensorRT", "10.3.0.30", "8.5.2")]),
        ({"precision": "fp16", "batch": 1}, [("precision", "fp16", "int8"), ("batch", 1, 32)]),
    ],
)
def test_contradictions(changed: dict[str, object], what: list[tuple[object, ...]]) -> None:
    (run,) = parse_log(LOG).runs
    target = TargetInfo(**{"batch": 32, "mode": "hybrid", **BUILT, **changed})  # type: ignore[arg-type]
    assert [(each.what, each.expected, each.received) for each in contradictions(run, target)] == what


def test_a_run_that_says_nothing_contradicts_nothing() -> None:
    assert target_of(None).board is None
    assert contradictions(None, TargetInfo(**BUILT, batch=1, mode="hybrid")) == []
