"""The report of a sweep: for each target the drawing of accuracy against latency, the front, and every trial."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.report.html import render_page
from dlaflow.report.tradeoff import Tradeoff, tradeoff_of
from dlaflow.report.units import count, percent
from dlaflow.sweep.records import SweepRecord, TrialRecord, tradeoff_run


@dataclass(frozen=True, slots=True)
class TargetView:
    """The trials of one target, those on the front first, and their drawing (None: too few have both numbers)."""

    target: str
    trials: list[TrialRecord]
    plot: Tradeoff | None


def sweep_page(record: SweepRecord) -> str:
    """One self-contained HTML file; each trial links to its own report beside it."""
    views = [
        TargetView(target, trials, tradeoff_of(tradeoff_run(target, trials)))
        for target, trials in record.by_target().items()
    ]
    return render_page("sweep.html.j2", record=record, views=views, headline=sweep_headline(record))


def sweep_headline(record: SweepRecord) -> str:
    """The answer in a sentence: how wide the front is."""
    done = len(record.trials) - len(record.failed)
    front = [trial for trial in record.trials if trial.front]
    failed = f", {count(len(record.failed), 'failure')}" if record.failed else ""
    if not front:
        return f"{count(done, 'trial')}{failed}; none has both an accuracy and a latency."
    best = max(front, key=lambda trial: trial.top1.value if trial.top1 else 0.0)
    fast = min(front, key=lambda trial: trial.latency.value if trial.latency else 0.0)
    words = _numbers(best) if best is fast else f"from {_numbers(fast)} to {_numbers(best)}"
    return f"{len(front)} of {count(done, 'trial')} are on the front: {words}{failed}."


def _numbers(trial: TrialRecord) -> str:
    top1, latency = trial.top1, trial.latency
    return f"{percent(top1.value)} in {latency.value:.3g} {latency.unit}" if top1 and latency else ""
