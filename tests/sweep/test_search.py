"""Searches without a cluster: what they propose, and that they learn from what they are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.sweep.schema import Sweep
from dlaflow.sweep.search import OptunaSearch, Search
from dlaflow.sweep.space import Trial, load_sweep

pytest.importorskip("optuna")


def read(folder: Path, trials: int, space: str) -> Sweep:
    text = f'name = "s"\n[search]\nkind = "optuna"\ntrials = {trials}\nseed = 3\n[space]\n{space}\n'
    (folder / "s.toml").write_text(text)
    return load_sweep(folder / "s.toml")


def scores(trial: Trial) -> tuple[float, float]:
    """As if only a width near 0.7 were accurate, and each width took as long."""
    return 1 - abs(float(trial.choices["width"]) - 0.7), 1.0


def drive(search: Search) -> list[Trial]:
    asked = []
    while (trial := search.ask()) is not None:
        asked.append(trial)
        search.tell(trial, scores(trial))
    return asked


def test_no_trial_twice_and_a_small_space_is_used_up(tmp_path: Path) -> None:
    space = (
        'norm = ["batch", "group"]\nwidth = [0.5, 1.0]\nprecisions = [["fp16"], ["int8"]]\nmethod = ["mse", "minmax"]'
    )
    asked = drive(OptunaSearch(read(tmp_path, 50, space), []))
    assert len(asked) == len({trial.name for trial in asked}) == 2 * 2 * (1 + 2)


def test_it_learns(tmp_path: Path) -> None:
    asked = drive(
        OptunaSearch(read(tmp_path, 40, "width = { low = 0.1, high = 2.0 }\nsamples = { low = 8, high = 64 }"), [])
    )
    assert len(asked) == 40
    off = [abs(float(trial.choices["width"]) - 0.7) for trial in asked]
    assert sum(off[-10:]) < sum(off[:10]) / 2, off
    assert all(8 <= trial.recipe.calibrate.samples <= 64 for trial in asked)


def test_what_an_earlier_run_began_comes_first_and_counts(tmp_path: Path) -> None:
    sweep = read(tmp_path, 12, "width = { low = 0.1, high = 2.0 }")
    search = OptunaSearch(sweep, [])
    first = [search.ask() for _ in range(4)]
    known = [trial for trial in first if trial]
    later = drive(OptunaSearch(sweep, known))
    assert [trial.name for trial in later[:4]] == [trial.name for trial in known]
    assert len({trial.name for trial in later}) == 12


def test_several_at_once_and_failures(tmp_path: Path) -> None:
    search = OptunaSearch(read(tmp_path, 10, "width = [0.25, 0.5, 0.75, 1.0]"), [])
    together = [search.ask() for _ in range(4)]
    assert search.ask() is None
    assert len({trial.name for trial in together if trial}) == 4
    for trial in together:
        assert trial is not None
        search.tell(trial, None)
    assert search.ask() is None
