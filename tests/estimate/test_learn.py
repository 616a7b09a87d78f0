"""Learning from own measurements: the board moves towards them, other boards stay, nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dlaflow.errors import InputError, UsageError
from dlaflow.estimate.latency import estimate
from dlaflow.estimate.learn import Sample, learn
from dlaflow.estimate.parameters import learned_path, shipped_folder
from dlaflow.graph.layer import Network
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Placement

Placed = Callable[[Target], tuple[Network, Placement]]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLAFLOW_PARAMETERS", str(tmp_path / "own"))
    return tmp_path / "own"


def value(placed: Placed, target: Target) -> float:
    found = estimate(*placed(target), target).latency
    assert found is not None
    return found.value


def test_the_board_moves_towards_its_measurements(placed: Placed, own_folder: Path) -> None:
    target, other = resolve_target("agx-orin-64gb", "5.1.1"), resolve_target("agx-orin-32gb", "5.1.1")
    shipped = {path.name: path.read_bytes() for path in shipped_folder().iterdir()}
    before, untouched = value(placed, target), value(placed, other)
    truth = before * 1.4
    outcome = learn(*placed(target), target, None, [Sample("m", "1", truth), Sample("m", "2", truth * 1.01)])
    after = value(placed, target)
    assert abs(after / truth - 1) < 0.15
    assert abs(outcome.after[0]) < abs(outcome.before[0])
    assert value(placed, other) == untouched
    assert Path(outcome.stored) == learned_path("agx-orin-64gb", "v2-int8")
    assert Path(outcome.stored).parent == own_folder
    assert "your own 2 measurements" in estimate(*placed(target), target).basis
    assert {path.name: path.read_bytes() for path in shipped_folder().iterdir()} == shipped


def test_a_measurement_counts_once(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1")
    sample = Sample("m", "abc", 0.8)
    learn(*placed(target), target, None, [sample])
    once = value(placed, target)
    with pytest.raises(InputError, match="nothing new"):
        learn(*placed(target), target, None, [sample])
    assert value(placed, target) == once
    outcome = learn(*placed(target), target, None, [sample, Sample("n", "def", 0.8)])
    assert outcome.samples == ("n",)


def test_a_profile_tells_more_than_a_total(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1", batch=32)
    split = estimate(*placed(target), target).split
    assert split is not None
    inside = (split.dla + split.launch) * 1.5
    learn(*placed(target), target, None, [Sample("m", "1", split.total - split.dla - split.launch + inside, inside)])
    learned = estimate(*placed(target), target).split
    assert learned is not None
    assert learned.dla + learned.launch > 1.25 * (split.dla + split.launch)


def test_intervals_stay_as_wide_as_the_misses(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1")
    base = value(placed, target)
    learn(*placed(target), target, None, [Sample("m", "1", base), Sample("n", "2", base * 3)])
    found = estimate(*placed(target), target).latency
    assert found is not None
    assert found.holds(base * 3)


def test_what_cannot_be_learned_is_told(placed: Placed) -> None:
    nano = resolve_target("orin-nano", tensorrt="8.5.2")
    with pytest.raises(UsageError, match="DLA"):
        learn(*placed(nano), nano, None, [Sample("m", "1", 1.0)])
    target = resolve_target("agx-orin-64gb", "5.1.1")
    with pytest.raises(InputError, match="more than 0"):
        learn(*placed(target), target, None, [Sample("m", "1", 0.0)])


@pytest.mark.parametrize("times", [(0.0, None), (float("nan"), None), (float("inf"), None), (1.0, float("nan"))])
def test_times_that_no_run_has(placed: Placed, own_folder: Path, times: tuple[float, float | None]) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1")
    with pytest.raises(InputError, match="holds no time"):
        learn(*placed(target), target, None, [Sample("m", "1", *times)])
    assert not own_folder.exists()
