"""What a sweep leaves behind: one outcome a trial, and the record that reports are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from dlaflow.files import write_atomic
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.tradeoff import accuracy_of, front_of, latency_of
from dlaflow.types import Measurement
from dlaflow.version import __version__

TRIAL_SCHEMA, SWEEP_SCHEMA = "dlaflow.trial/1", "dlaflow.sweep/1"


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


def fronts(trials: list[TrialRecord]) -> set[str]:
    """The names of the trials on the front of their target."""
    grouped: dict[str, list[Variant]] = {}
    for trial in trials:
        if trial.variant is not None:
            grouped.setdefault(trial.target, []).append(trial.variant)
    return {variant.name for variants in grouped.values() for variant in front_of(variants)}


def tradeoff_run(name: str, trials: list[TrialRecord]) -> RunRecord:
    """The trials of one target as a run, for the drawing."""
    return RunRecord(name, "", variants=[trial.variant for trial in trials if trial.variant])


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Remember how the trial in this folder ended."""
    body = {"schema": TRIAL_SCHEMA, **msgspec.to_builtins(outcome)}
    write_atomic(folder / "result.json", msgspec.json.format(msgspec.json.encode(body), indent=1) + b"\n")


def read_outcome(folder: Path) -> Outcome | None:
    """How the trial in this folder ended; None when it did not, or by another version of dlaflow."""
    try:
        outcome = msgspec.json.decode((folder / "result.json").read_bytes(), type=Outcome)
    except (OSError, msgspec.DecodeError):
        return None
    return outcome if outcome.dlaflow == __version__ else None


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
    body = {"schema": SWEEP_SCHEMA, "dlaflow": __version__, **head, "trials": trials}
    return msgspec.json.format(msgspec.json.encode(body), indent=1) + b"\n"
