"""Each trial in a process of its own: a crash, a loop without end or greed is one row, and the others stand."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.api.check import predict
from dlaflow.estimate.answer import Range
from dlaflow.estimate.latency import estimate
from dlaflow.survey.nursery import Nursery
from dlaflow.survey.records import Case, Result
from dlaflow.survey.sources import sources_of
from dlaflow.survey.trial import Job, Place, _on_board
from dlaflow.targets.target import resolve_target

NX = Place("orin-nx-16gb", "MAXN")
CASES = [
    (Case("6.2", "10.3.0", "v2", "int8"), [NX, Place("agx-orin-64gb", "30W")]),
    (Case("5.1.3", "8.5.2", "v2", "fp16"), [NX]),
]


def trial(word: str, seconds: float = 300.0, mebibytes: int = 8192) -> list[Result]:
    nursery = Nursery()
    try:
        return results(nursery, Job(sources_of([word])[0], CASES, "exact", seconds, mebibytes))
    finally:
        assert nursery.close() == 0


def results(nursery: Nursery, job: Job) -> list[Result]:
    nursery.begin(job)
    while not nursery.over():
        pass
    return nursery.results


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
    assert not first.before.standalone
    assert first.after.standalone, "as `fix --mode standalone --output-4d` makes it"
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
    ("factor", "says", "clearly"), [(0.5, "beyond their intervals", True), (0.9, "overlap", False), (1.0, "", False)]
)
def test_a_fix_that_slows_down_is_told_as_fix_tells_it(place: Path, factor: float, says: str, clearly: bool) -> None:
    target = resolve_target("orin-nx-16gb", "6.2")
    found = predict(Path("models/one.onnx"), target)
    before = estimate(found.network, found.placement, target)
    after = replace(before, throughput=Range.around(factor * before.throughput.value, 0.2))
    before = replace(before, throughput=Range.around(before.throughput.value, 0.2))
    on = _on_board(before, after, read_before=True)
    assert says in on.slower
    assert bool(on.slower) == bool(says)
    assert on.clearly == clearly
    assert _on_board(before, None, read_before=True).slower == ""
    assert _on_board(before, after, read_before=False).slower == "", "no engine comes of the model before"


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


def test_a_nursery_is_used_again_and_begun_again(place: Path) -> None:
    """The second job is done by the same process; where that is killed, by another one, and nothing is lost."""
    one, two = (Job(sources_of([f"models/{name}"])[0], CASES) for name in ("one.onnx", "two <b>|.onnx"))
    nursery = Nursery()
    try:
        first = {row.node for row in (*results(nursery, one), *results(nursery, two))}
        assert len(first) == 1
        nursery.begin(one)
        os.kill(int(first.pop().rpartition("/")[2]), signal.SIGKILL)
        assert not nursery.over()
        assert nursery.over()
        assert [row.status for row in nursery.results] == ["done", "done"]
    finally:
        nursery.close()


def test_a_nursery_that_dies_each_time_gives_the_job_up(place: Path) -> None:
    pytest.importorskip("torch")
    source = sources_of(["timm:good"])[0]
    (place / "timm.py").write_text("import os; os.kill(os.getpid(), 9)")
    rows = results(Nursery(), Job(source, CASES))
    assert [(row.status, row.error) for row in rows] == [("failed", "its process was ended by SIGKILL")] * 2


def test_an_import_that_hangs_is_bounded(place: Path) -> None:
    pytest.importorskip("torch")
    source = sources_of(["timm:good"])[0]
    (place / "timm.py").write_text("while True: pass")
    rows = results(Nursery(), Job(source, CASES, seconds=20.0))
    assert {row.error for row in rows} == {"it took longer than 20 s"}


def test_a_trial_does_not_outlive_its_nursery(place: Path) -> None:
    pytest.importorskip("torch")
    nursery = Nursery()
    nursery.begin(Job(sources_of(["timm:sleeps"])[0], CASES))
    pid = place / "pid"
    while not pid.exists() or not pid.read_text():
        time.sleep(0.05)
    nursery.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
