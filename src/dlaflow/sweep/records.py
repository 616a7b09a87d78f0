"""What a sweep leaves behind: one outcome a trial, the record of all, and its report and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from dlaflow.files import record_json
from dlaflow.report.html import render_page
from dlaflow.report.records import Variant
from dlaflow.report.tradeoff import accuracy_of, front_of, latency_of, tradeoff_of
from dlaflow.report.units import count, percent
from dlaflow.types import Measurement
from dlaflow.version import __version__

SWEEP_SCHEMA = "dlaflow.sweep/1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended. `error` is one line (empty when done), `node` the machine and process that ended it.

    `kept` counts the steps that it found done: by an attempt that died, or by a trial with the same training.
    """

    status: Literal["done", "failed"]
    error: str = ""
    seconds: float = 0.0
    kept: int = 0
    node: str = ""
    dlaflow: str = __version__


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial of a sweep. `folder` is relative to that of the sweep, `page` the report in it.

    `variant` is None when it failed. `front`: no other trial for the same target is faster and at least as accurate.
    """

    name: str
    folder: str
    choices: dict[str, str]
    outcome: Outcome
    page: str = "report.html"
    variant: Variant | None = None
    front: bool = False

    @property
    def target(self) -> str:
        """What must be equal for two latencies to be compared; the precision is one of the choices."""
        if self.variant is None or self.variant.placement is None:
            return ""
        info = self.variant.placement.target
        return f"{info.board}, {info.jetpack}, batch {info.batch}, {info.mode}"

    @property
    def top1(self) -> Measurement | None:
        return accuracy_of(self.variant) if self.variant else None

    @property
    def latency(self) -> Measurement | None:
        return latency_of(self.variant) if self.variant else None

    @property
    def numbers(self) -> tuple[str, str]:
        """Accuracy and latency as text."""
        top1, time = self.top1, self.latency
        accuracy = f"{percent(top1.value)} {top1.subject}" if top1 else "–"
        return accuracy, f"{time.value:.3g} {time.unit}" if time else "latency unknown"


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """A finished sweep; `notices` and `environment` as in a run's record."""

    name: str
    created: str
    search: str
    data: str = ""
    notices: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    trials: list[TrialRecord] = field(default_factory=list)

    @property
    def failed(self) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.outcome.status == "failed"]

    @property
    def headline(self) -> str:
        """The answer in a sentence: how wide the front is."""
        done = len(self.trials) - len(self.failed)
        failed = f", {count(len(self.failed), 'failure')}" if self.failed else ""
        points = sorted(
            (latency.value, latency.unit, top1.value)
            for trial in self.trials
            if trial.front and (latency := trial.latency) and (top1 := trial.top1)
        )
        if not points:
            return f"{count(done, 'trial')}{failed}; none has both an accuracy and a latency."
        best = max(points, key=lambda point: point[2])
        ends = [f"{percent(top1)} in {latency:.3g} {unit}" for latency, unit, top1 in (points[0], best)]
        span = ends[0] if points[0] == best else f"from {ends[0]} to {ends[1]}"
        return f"{len(points)} of {count(done, 'trial')} are on the front: {span}{failed}."

    def by_target(self) -> dict[str, list[TrialRecord]]:
        """The trials that are done: those on the front first, fast before slow, then the others by accuracy."""
        found: dict[str, list[TrialRecord]] = {}
        for trial in self.trials:
            if trial.variant is not None:
                found.setdefault(trial.target, []).append(trial)
        return {target: sorted(trials, key=_rank) for target, trials in found.items()}


def _rank(trial: TrialRecord) -> tuple[bool, float]:
    top1, latency = trial.top1, trial.latency
    return not trial.front, (latency.value if latency else 0.0) if trial.front else -(top1.value if top1 else 0.0)


def with_fronts(trials: list[TrialRecord]) -> list[TrialRecord]:
    """The trials, marked where they are on the front of their target."""
    grouped: dict[str, list[Variant]] = {}
    for trial in trials:
        if trial.variant is not None:
            grouped.setdefault(trial.target, []).append(trial.variant)
    front = {variant.name for variants in grouped.values() for variant in front_of(variants)}
    return [replace(trial, front=trial.name in front) for trial in trials]


def sweep_page(record: SweepRecord) -> str:
    """One self-contained HTML file: each target's drawing, front and trials, which link to their reports beside it."""
    views = [
        (target, trials, tradeoff_of([trial.variant for trial in trials if trial.variant]))
        for target, trials in record.by_target().items()
    ]
    return render_page("sweep.html.j2", record=record, views=views)


def sweep_json(record: SweepRecord) -> bytes:
    """The file of `dlaflow sweep --json`, also `sweep.json` in the folder."""
    trials = [
        {
            "name": trial.name,
            "folder": trial.folder,
            "choices": trial.choices,
            "target": trial.target,
            **{key: getattr(trial.outcome, key) for key in ("status", "error", "seconds", "kept", "node")},
            "top1": msgspec.to_builtins(trial.top1),
            "latency": msgspec.to_builtins(trial.latency),
            "front": trial.front,
        }
        for trial in record.trials
    ]
    head = {key: getattr(record, key) for key in ("name", "created", "search", "data", "notices", "environment")}
    return record_json(SWEEP_SCHEMA, {**head, "trials": trials})
