"""onnxruntime's session: how many cores it takes."""

from __future__ import annotations

import os

import pytest

from dlaflow.quantize.session import available_cores


@pytest.mark.parametrize(
    ("told", "expected"), [("1", 1), ("1,4", 1), (" 1 ", 1), ("999999", None), ("0", 1), ("", None), ("many", None)]
)
def test_the_usual_variable_bounds_the_cores(told: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert available_cores() == (expected or len(os.sched_getaffinity(0)))
