"""Each trial in a process of its own: a crash, a loop without end or greed is one row, and the others stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.survey.records import Case, Result
from dlaflow.survey.sources import sources_of
from dlaflow.survey.trial import Job, Place, run_trial

NX = Place("orin-nx-16gb", "MAXN")
CASES = [
    (Case("6.2", "10.3.0", "v2", "int8"), [NX, Place("agx-orin-64gb", "30W")]),
    (Case("5.1.3", "8.5.2", "v2", "fp16"), [NX]),
]


def trial(word: str, seconds: float = 300.0, mebibytes: int = 8192) -> list[Result]:
    (source,) = sources_of([word])
    return run_trial(Job(source, CASES, "exact", seconds, mebibytes))


def test_a_model_is_fixed_once_and_estimated_for_each_board(place: Path) -> None:
    pytest.importorskip("torch")
    first, second = trial("timm:good")
    assert (first.status, second.status) == ("done", "done")
    assert [(each.board, each.mode) for each in first.boards] == [("orin-nx-16gb", "MAXN"), ("agx-orin-64gb", "30W")]
    assert first.before is not None
    assert first.after is not None
    assert first.fix is not None
    assert not first.before.whole
    assert first.after.whole
    assert first.before.reasons[0].rule == "DLA250"
    assert ("mean-pooling", 1) in first.fix.rewrites
    assert first.fix.error is not None
    assert first.fix.error < 1e-4
    for on in first.boards:
        assert on.after is not None
        low, middle, high = on.after.rate
        assert low < middle < high
    assert first.inputs == {"input": [1, 3, 32, 32]}


@pytest.mark.parametrize(
    ("word", "bounds", "says"),
    [
        ("timm:dies", {}, "ended by SIGSEGV"),
        ("timm:hangs", {"seconds": 8.0}, "took longer than 8 s"),
    ],
)
def test_what_dies_is_a_row_for_each_case(place: Path, word: str, bounds: dict[str, float], says: str) -> None:
    pytest.importorskip("torch")
    rows = trial(word, **bounds)
    assert [row.status for row in rows] == ["failed", "failed"]
    assert all(says in row.error for row in rows)


def test_what_wants_too_much_memory(place: Path) -> None:
    pytest.importorskip("torch")
    rows = trial("timm:greedy", mebibytes=3000)
    assert [row.status for row in rows] == ["failed", "failed"]
    assert rows[0].error == "it needs more than 3000 MiB of memory"


def test_what_cannot_be_used_is_refused_in_a_line(place: Path) -> None:
    for word in ("models/broken.onnx", "timm:raises"):
        for row in trial(word):
            assert row.status == "refused"
            assert row.error
            assert "\n" not in row.error
